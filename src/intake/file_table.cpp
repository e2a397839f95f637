// SPDX-License-Identifier: Apache-2.0
#include "intake/file_table.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace banger::intake {
namespace {

bool lies_below(const std::string& file, const std::string& directory) {
  return directory.empty() || (file.starts_with(directory) && file.size() > directory.size() && file[directory.size()] == '/');
}

std::string sentence(const std::vector<api::Refusal>& refusals, const std::string& file) {
  auto text = api::to_string(refusals.front(), file);
  if (refusals.size() > 1) text += fmt::format(" (and {} more)", refusals.size() - 1);
  return text;
}

}  // namespace

void FileTable::absorb(const Contents& contents, DirectoryReader& reader, WriterHints& hints) {
  look_again_.reset();
  unreadable_ = contents.unreadable;
  forget_absent(contents);
  for (const auto& entry : contents.entries) absorb(entry, reader, hints);
  std::erase_if(hints, [this](const auto& hint) { return !files_.contains(hint.first); });
}

void FileTable::forget_absent(const Contents& contents) {
  std::erase_if(gone_, [&](const auto& gone) { return clock_.steady() - gone.second.since > rules_.remember_gone; });
  for (auto it = files_.begin(); it != files_.end();) {
    const auto& [name, file] = *it;
    const bool present = std::ranges::binary_search(contents.entries, name, {}, &Entry::file);
    const bool out_of_sight =
        std::ranges::any_of(unreadable_, [&](const auto& directory) { return lies_below(name, directory); });
    if (present || out_of_sight) {
      ++it;
      continue;
    }
    auto& gone = gone_[file.print.inode];
    gone.since = clock_.steady();
    gone.names.insert(name);
    gone.names.insert(file.once.begin(), file.once.end());
    it = files_.erase(it);
  }
}

void FileTable::absorb(const Entry& entry, DirectoryReader& reader, WriterHints& hints) {
  const auto now = clock_.steady();
  const auto [it, is_new] = files_.try_emplace(entry.file);
  auto& file = it->second;
  if (is_new) {
    if (const auto gone = gone_.find(entry.print.inode); gone != gone_.end()) file.once = gone->second.names;
  }
  if (is_new || file.print != entry.print) {
    file.print = entry.print;
    file.print_seen = now;
    file.taken = false;
  }
  if (!entry.problem.empty()) {
    file.state = FileState::Refused;
    file.documents.clear();
    file.problem = entry.file + ": " + entry.problem;
    file.taken = false;  // an entry that may be read again is read again
    return;
  }
  if (file.taken && !file.racy) return;
  const auto hint = hints.find(entry.file);
  const auto wait = to_wait(file, hint == hints.end() ? std::nullopt : std::optional(hint->second));
  if (wait > std::chrono::milliseconds::zero()) {
    if (!file.taken) file.state = FileState::Settling;
    look_again_in(wait);
    return;
  }
  if (hint != hints.end()) hints.erase(hint);
  take(entry, file, reader);
  if (file.state == FileState::Good) file.once.clear();
}

// How long the file still has to be left alone; zero: it may be read.
std::chrono::milliseconds FileTable::to_wait(const KnownFile& file, std::optional<WriterHint> hint) const {
  using std::chrono::milliseconds;
  const auto seen_for = clock_.steady() - file.print_seen;
  if (file.taken) return std::max(milliseconds{0}, rules_.unchanged - seen_for);  // racy: one more read when time has passed
  if (hint == WriterHint::Closed) return milliseconds{0};
  if (hint == WriterHint::Open) return std::max(milliseconds{0}, rules_.unclosed - seen_for);
  if (!changed_just_now(file.print)) return milliseconds{0};
  return std::max(milliseconds{0}, rules_.unchanged - seen_for);
}

void FileTable::take(const Entry& entry, KnownFile& file, DirectoryReader& reader) {
  file.racy = !file.taken && changed_just_now(entry.print);
  if (file.racy) look_again_in(rules_.unchanged);
  const auto text = reader.read(entry);
  if (!text && text.error().code == ErrorCode::Busy) {
    file.state = FileState::Settling;
    file.taken = false;
    file.print_seen = clock_.steady();
    look_again_in(rules_.unchanged);
    return;
  }
  file.taken = true;
  file.documents.clear();
  file.problem.clear();
  file.state = FileState::Refused;
  if (!text) {
    file.taken = false;
    file.problem = entry.file + ": " + text.error().message;
    return;
  }
  auto decoded = api::decode_manifest(*text);
  file.documents = std::move(decoded.value);
  if (decoded.refusals.empty()) {
    file.state = FileState::Good;
  } else {
    file.problem = sentence(decoded.refusals, entry.file);
  }
}

const KnownFile* FileTable::find(const std::string& file) const {
  const auto it = files_.find(file);
  return it == files_.end() ? nullptr : &it->second;
}

bool FileTable::is_unknown(const std::string& file) const {
  const auto* known = find(file);
  if (known != nullptr && known->state != FileState::Good) return true;
  if (std::ranges::any_of(unreadable_, [&](const auto& directory) { return lies_below(file, directory); })) return true;
  return std::ranges::any_of(
      files_, [&](const auto& other) { return other.second.state != FileState::Good && other.second.once.contains(file); });
}

bool FileTable::anything_settles() const {
  return std::ranges::any_of(files_, [](const auto& file) { return file.second.state == FileState::Settling; });
}

bool FileTable::changed_just_now(const Fingerprint& print) const {
  const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(clock_.wall().time_since_epoch()).count();
  const auto window = std::chrono::duration_cast<std::chrono::nanoseconds>(rules_.unchanged).count();
  return print.change_time_ns > now - window;
}

void FileTable::look_again_in(std::chrono::milliseconds delay) {
  look_again_ = look_again_ ? std::min(*look_again_, delay) : delay;
}

}  // namespace banger::intake
