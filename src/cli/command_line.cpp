// SPDX-License-Identifier: Apache-2.0
#include "cli/command_line.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>

#include "api/formats.hpp"
#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {
namespace {

constexpr std::string_view kExamples = R"(Examples:
  bangerctl apply -f web.yaml                           make it so
  bangerctl get vm -o wide                              what runs
  bangerctl describe vm web                             everything about one machine
  bangerctl wait --for=condition=Ready vm/web           until it answers
  bangerctl ssh web -- uname -a                         a command in the guest

)";

constexpr std::string_view kExitCodes =
    R"(Exit codes: 0 done; 1 an error from bangerd, or not found; 2 wrong command line; 3 bangerd cannot be reached;
4 a wait ran out of time. `ssh` passes on the exit code of ssh(1), 255 if it cannot connect.)";

// Shown below the options of `bangerctl VERB --help`.
std::string_view example_of(std::string_view verb) {
  static const std::map<std::string_view, std::string_view> kOfVerb{
      {"apply", "bangerctl apply -f web.yaml -f networks/\n  cat web.yaml | bangerctl apply -f -"},
      {"get", "bangerctl get vm -A -o wide\n  bangerctl get vm web -o yaml\n  bangerctl get vm -l app=web -w"},
      {"describe", "bangerctl describe vm web\n  bangerctl describe network/default"},
      {"delete", "bangerctl delete vm/web\n  bangerctl delete -f web.yaml --wait=false"},
      {"wait", "bangerctl wait --for=condition=Ready vm/web --timeout=2m\n  bangerctl wait --for=delete vm/web"},
      {"start", "bangerctl start web --wait"},
      {"stop", "bangerctl stop web --wait"},
      {"restart", "bangerctl restart web --wait"},
      {"ssh", "bangerctl ssh web\n  bangerctl ssh web -- uname -a"},
      {"logs", "bangerctl logs web --tail 20\n  bangerctl logs -f web"},
      {"events", "bangerctl events --for vm/web -w"},
      {"sources", "bangerctl get sources\n  bangerctl sources confirm"},
      {"gc", "bangerctl gc --dry-run\n  bangerctl gc\n  bangerctl gc --yes"},
      {"version", "bangerctl version"}};
  return kOfVerb.at(verb);
}

using Register = std::function<void(std::function<Outcome<>(const Session&)>)>;

class Verbs {
 public:
  Verbs(CLI::App& app, Command& command) : app_(app), command_(command) {}

  // Words after "--" are the verb's, whatever they look like. CLI11 2.1 hands them to the wrong command when a list has begun.
  Outcome<> take_trailing(const std::vector<std::string>& words) {
    if (words.empty()) return {};
    for (const auto* verb : app_.get_subcommands()) {
      const auto it = trailing_.find(verb);
      if (it == trailing_.end()) return give_up(usage(fmt::format("bangerctl {} takes nothing after --", verb->get_name())));
      it->second->insert(it->second->end(), words.begin(), words.end());
    }
    return {};
  }

  void add_all() {
    add_apply();
    add_get();
    add_describe();
    add_delete();
    add_wait();
    add_power("start", "Let virtual machines run", start);
    add_power("stop", "Stop virtual machines: sync in the guest, then power off", stop);
    add_power("restart", "Restart virtual machines once; changes that wait are carried out", restart);
    add_ssh();
    add_logs();
    add_events();
    add_sources();
    add_gc();
    add_verb("version", "Versions of bangerctl and of bangerd")->callback([this] { command_.run = version; });
  }

 private:
  CLI::App* add_verb(const char* name, const char* description) {
    auto* verb = app_.add_subcommand(name, description);
    verb->fallthrough();
    verb->footer(fmt::format("Example:\n  {}\n\n{}", example_of(name), kExitCodes));
    return verb;
  }

  // --timeout as text; read when the verb runs, so that the failure is one of the command line.
  template <class Options>
  void runs_with_timeout(CLI::App* verb, const std::shared_ptr<Options>& options,
                         Outcome<> (*run)(const Options&, const Session&)) {
    auto timeout = std::make_shared<std::string>("5m");
    verb->add_option("--timeout", *timeout, "How long to wait at most: 30s, 5m, 1h30m")->capture_default_str();
    verb->callback([this, options, timeout, run] {
      command_.run = [options, timeout, run](const Session& session) -> Outcome<> {
        const auto duration = parse_duration(*timeout);
        if (!duration) return give_up(duration.error());
        options->timeout = *duration;
        return run(*options, session);
      };
    });
  }

  template <class Options>
  void runs(CLI::App* verb, const std::shared_ptr<Options>& options, Outcome<> (*run)(const Options&, const Session&)) {
    verb->callback(
        [this, options, run] { command_.run = [options, run](const Session& session) { return run(*options, session); }; });
  }

  void add_apply() {
    auto* verb = add_verb("apply", "Make what manifests say the desired state");
    auto options = std::make_shared<ApplyOptions>();
    verb->add_option("-f,--filename", options->files,
                     "Manifest file, directory of *.yaml files, or - for standard input; repeatable")
        ->required()
        ->allow_extra_args(false);
    runs(verb, options, apply);
  }

  void add_get() {
    auto* verb =
        add_verb("get", "Show objects: bangerctl get KIND [NAME…] or KIND/NAME…; `get sources` shows a row a manifest file");
    auto options = std::make_shared<GetOptions>();
    static const std::map<std::string, OutputFormat> kFormats{
        {"wide", OutputFormat::Wide}, {"json", OutputFormat::Json}, {"yaml", OutputFormat::Yaml}, {"name", OutputFormat::Name}};
    trailing_[verb] = &options->words;
    verb->add_option("KIND", options->words, "vm, network, image, kernel, event, lease, source; then names")->required();
    auto output = std::make_shared<std::string>();
    verb->add_option("-o,--output", *output, "wide, json, yaml or name")->check(CLI::IsMember({"wide", "json", "yaml", "name"}));
    verb->add_option("-l,--selector", options->selector, "Label selector: app=web,tier in (a,b),!old");
    verb->add_flag("-A,--all-namespaces", options->all_namespaces, "Of all namespaces");
    verb->add_flag("-w,--watch", options->watch, "Go on showing changes as they come");
    verb->callback([this, options, output] {
      if (!output->empty()) options->output = kFormats.at(*output);
      command_.run = [options](const Session& session) { return get(*options, session); };
    });
  }

  void add_describe() {
    auto* verb =
        add_verb("describe", "Everything about an object: desired beside observed, kernel objects, conditions, steps, events");
    auto options = std::make_shared<DescribeOptions>();
    trailing_[verb] = &options->words;
    verb->add_option("KIND", options->words, "KIND NAME… or KIND/NAME…")->required();
    runs(verb, options, describe);
  }

  void add_delete() {
    auto* verb = add_verb("delete", "Delete objects and wait until they are gone");
    auto options = std::make_shared<DeleteOptions>();
    trailing_[verb] = &options->words;
    verb->add_option("KIND", options->words, "KIND NAME… or KIND/NAME…");
    verb->add_option("-f,--filename", options->files, "The objects of these manifests; repeatable")->allow_extra_args(false);
    verb->add_flag("--ignore-not-found", options->ignore_not_found, "What is not there counts as deleted");
    verb->add_flag("--wait,!--no-wait", options->wait, "Wait until they are gone; --wait=false does not")->capture_default_str();
    runs_with_timeout(verb, options, remove);
  }

  void add_wait() {
    auto* verb = add_verb("wait", "Wait for a condition of objects, or until they are there, or gone");
    auto options = std::make_shared<WaitOptions>();
    trailing_[verb] = &options->words;
    verb->add_option("OBJECT", options->words, "KIND NAME… or KIND/NAME…")->required();
    verb->add_option("--for", options->what, "condition=TYPE[=True|False|Unknown], create, or delete")->required();
    runs_with_timeout(verb, options, wait);
  }

  void add_power(const char* name, const char* description, Outcome<> (*run)(const PowerOptions&, const Session&)) {
    auto* verb = add_verb(name, description);
    auto options = std::make_shared<PowerOptions>();
    trailing_[verb] = &options->names;
    verb->add_option("VM", options->names, "Names of virtual machines")->required();
    verb->add_flag("--wait", options->wait, "Wait until it is done, and say how it came out");
    runs_with_timeout(verb, options, run);
  }

  void add_ssh() {
    auto* verb = add_verb("ssh", "A shell in a virtual machine, or a command: bangerctl ssh VM -- COMMAND…");
    auto options = std::make_shared<SshOptions>();
    verb->add_option("VM", options->vm, "Name of the virtual machine")->required();
    trailing_[verb] = &options->command;
    verb->add_option("COMMAND", options->command, "The command and its arguments");
    runs(verb, options, ssh);
  }

  void add_logs() {
    auto* verb = add_verb("logs", "What a virtual machine wrote to its serial port");
    auto options = std::make_shared<LogsOptions>();
    verb->add_option("VM", options->vm, "Name of the virtual machine")->required();
    verb->add_flag("-f,--follow", options->follow, "Go on as more is written");
    verb->add_option("--tail", options->tail, "Only the last N lines")->check(CLI::NonNegativeNumber);
    verb->add_flag("-p,--previous", options->previous, "The part before the log was last rotated");
    runs(verb, options, logs);
  }

  void add_events() {
    auto* verb = add_verb("events", "What happened, oldest first");
    auto options = std::make_shared<EventsOptions>();
    verb->add_option("--for", options->about, "Only what happened to KIND/NAME");
    verb->add_flag("-A,--all-namespaces", options->all_namespaces, "Of all namespaces");
    verb->add_flag("-w,--watch", options->watch, "Go on showing what happens");
    runs(verb, options, events);
  }

  void add_sources() {
    auto* verb = add_verb("sources", "Directories of manifests (bangerctl get sources lists their files)");
    verb->require_subcommand(1);
    auto* confirm = verb->add_subcommand("confirm", "Let the removals happen that wait for a confirmation");
    confirm->fallthrough();
    auto options = std::make_shared<ConfirmOptions>();
    confirm->add_option("NAME", options->source, "Of this source only");
    runs(confirm, options, confirm_sources);
  }

  void add_gc() {
    auto* verb = add_verb("gc", "Remove what bangerd made and no object owns any more; --dry-run only shows everything it made");
    auto options = std::make_shared<GcOptions>();
    verb->add_flag("--dry-run", options->dry_run, "Show everything of bangerd's on this host and what would happen to it");
    verb->add_flag("--yes", options->yes, "End living machines of nobody, and delete their disks and images of nobody");
    verb->add_flag("--confirm", options->confirm, "End adopt mode: what is wanted now is all that is wanted");
    auto output = std::make_shared<std::string>();
    verb->add_option("-o,--output", *output, "json or yaml")->check(CLI::IsMember({"json", "yaml"}));
    verb->parse_complete_callback([options, output] {
      if (!output->empty()) options->output = *output == "json" ? OutputFormat::Json : OutputFormat::Yaml;
    });
    runs_with_timeout(verb, options, gc);
  }

  CLI::App& app_;
  Command& command_;
  std::map<const CLI::App*, std::vector<std::string>*> trailing_;
};

std::string mistake(const CLI::ParseError& error, const CLI::App& app) {
  std::string verb;
  for (const auto* chosen : app.get_subcommands()) verb = " " + chosen->get_name();
  std::string text = printable(error.what());
  while (text.ends_with('.') || text.ends_with(' ')) text.pop_back();
  if (text == "A subcommand is required") text = verb.empty() ? "a verb is required" : "one of its own verbs is required";
  return fmt::format("{}; see: bangerctl{} --help", text, verb);
}

// The word that was meant to be a verb.
std::optional<Failure> unknown_verb(std::span<const char* const> arguments, const CLI::App& app) {
  std::vector<std::string_view> known;
  std::vector<std::string> names;
  for (const auto* verb : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(verb->get_name());
  known.assign(names.begin(), names.end());
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view word = arguments[i];
    if (word == "-n" || word == "-s" || word == "--namespace" || word == "--socket") {
      ++i;
    } else if (!word.starts_with('-')) {
      if (std::ranges::find(known, word) != known.end()) return std::nullopt;
      const auto near = nearest(word, known);
      const auto hint = near.empty() ? std::string("see: bangerctl --help") : fmt::format("did you mean \"{}\"?", near);
      return usage(fmt::format("there is no verb \"{}\"; {}", printable(word), hint));
    }
  }
  return std::nullopt;
}

}  // namespace

Outcome<Command> parse_command_line(std::span<const char* const> arguments) {
  CLI::App app("bangerctl talks to bangerd, which keeps this host's microVMs equal to what their manifests say.", "bangerctl");
  app.footer(std::string(kExamples) + std::string(kExitCodes));
  app.require_subcommand(1);
  Command command{.socket = std::string(client::kDefaultSocket), .ns = std::string(api::kDefaultNamespace), .run = {}};
  auto* ns = app.add_option("-n,--namespace", command.ns, "Namespace of virtual machines and events")->capture_default_str();
  app.add_option("-s,--socket", command.socket, "Socket of bangerd")->envname("BANGER_SOCKET")->capture_default_str();
  Verbs verbs(app, command);
  verbs.add_all();
  const auto mark = std::ranges::find(arguments, std::string_view("--"), [](const char* word) { return std::string_view(word); });
  const auto before = static_cast<std::size_t>(mark - arguments.begin());
  std::vector<std::string> trailing;
  if (mark != arguments.end()) trailing.assign(mark + 1, arguments.end());
  try {
    app.parse(static_cast<int>(before), arguments.data());
  } catch (const CLI::Success& success) {
    app.exit(success);
    return command;
  } catch (const CLI::ParseError& error) {
    if (auto failure = unknown_verb(arguments.first(before), app)) return give_up(*std::move(failure));
    return give_up(usage(mistake(error, app)));
  }
  if (auto taken = verbs.take_trailing(trailing); !taken) return give_up(taken.error());
  command.ns_given = ns->count() > 0;
  if (const auto problem = api::schema::problem_with(api::schema::Format::DnsLabel, command.ns)) {
    return give_up(usage(fmt::format("-n: {}", *problem)));
  }
  return command;
}

}  // namespace banger::cli
