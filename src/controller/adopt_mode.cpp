// SPDX-License-Identifier: Apache-2.0
#include "controller/adopt_mode.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace banger::controller {
namespace {

constexpr Bytes kLimit = kib(64);
constexpr std::string_view kUnknown = "the state was lost earlier; its report cannot be read";

void forget_file(const std::filesystem::path& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
    log::warning("the next start will be in adopt mode again",
                 {{"error", errno_error(fmt::format("removing {}", file.native()), errno).message}});
  } else if (const auto synced = fsync_directory(file.parent_path()); !synced) {
    log::warning("a power cut now would bring adopt mode back", {{"error", synced.error().message}});
  }
}

}  // namespace

AdoptMode::AdoptMode(std::filesystem::path file) : file_(std::move(file)) {
  auto text = read_own_file(file_, kLimit);
  if (!text && text.error().code == ErrorCode::NotFound) return;
  if (!text) log::warning("the report of an earlier loss cannot be read", {{"error", text.error().message}});
  while (text && text->ends_with('\n')) text->pop_back();
  why_ = text && !text->empty() ? printable(*text) : std::string(kUnknown);
}

Result<void> AdoptMode::enter(std::string why) {
  if (!file_.empty()) BGR_CHECK(write_file_durably(file_, why + "\n", 0600));
  const std::lock_guard lock(mutex_);
  why_ = std::move(why);
  return {};
}

std::string AdoptMode::why() const {
  const std::lock_guard lock(mutex_);
  return why_;
}

std::string AdoptMode::text() const {
  const auto why = this->why();
  if (why.empty()) return {};
  return fmt::format(
      "adopt mode: {}. Nothing is pruned or collected until every manifest was read (an empty directory holds none), or until "
      "bangerctl gc --confirm",
      why);
}

bool AdoptMode::leave(std::string_view how) {
  std::function<void(const std::string&)> callback;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(why_, {}).empty()) return false;
    callback = on_leave_;
  }
  log::info("adopt mode ends", {{"because", std::string(how)}});
  if (!file_.empty()) forget_file(file_);
  if (callback) callback(std::string(how));
  return true;
}
void AdoptMode::on_leave(std::function<void(const std::string& how)> callback) {
  const std::lock_guard lock(mutex_);
  on_leave_ = std::move(callback);
}

}  // namespace banger::controller
