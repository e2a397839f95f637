// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 on Beast and Asio: the only file of this room that sees them. Connections run as coroutines on the io threads;
// whatever may wait for the store runs on the workers.
#include <fmt/format.h>
#include <sys/stat.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "server/handler.hpp"
#include "server/listener.hpp"
#include "server/server.hpp"
#include "server/status.hpp"

namespace banger::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Protocol = asio::local::stream_protocol;

constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kStopPatience{3'000};

class Session;

// What all connections share.
struct Core {
  Core(ServerOptions o, store::Objects& s, Hooks h, Clock& c)
      : options(std::move(o)),
        objects(s),
        hooks(std::move(h)),
        clock(c),
        handler(options, objects, hooks, clock),
        workers(options.workers) {}

  const ServerOptions options;
  store::Objects& objects;
  const Hooks hooks;
  Clock& clock;
  Handler handler;
  asio::io_context io;
  asio::thread_pool workers;
  std::atomic<bool> stopping = false;

  std::mutex mutex;
  std::condition_variable empty;
  std::set<Session*> sessions;
  std::size_t streams = 0;

  bool enter(Session& session);
  void leave(Session& session);
  bool enter_stream();
  void leave_stream();
  void poke_streams();
  void close_sessions();

  // GCC 12 destroys temporaries of an expression with co_await twice when they were moved into a coroutine (PR 99576 and kin):
  // here and below everything that owns something has a name before it is awaited with.
  template <class R>
  asio::awaitable<void> on_worker(std::function<R()>& work, R& result) {
    auto task = [&work, &result]() -> asio::awaitable<void> {
      result = work();
      co_return;
    };
    auto running = asio::co_spawn(workers.get_executor(), task, asio::use_awaitable);
    co_await std::move(running);
  }
};

// One connection. Everything runs on its strand.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Core& core, Protocol::socket socket)
      : core_(core), stream_(std::move(socket)), timer_(stream_.get_executor()), buffer_(core.options.header_limit + 64 * 1024) {
    denied_ = refusal_of_peer(stream_.socket().native_handle(), core.options);
  }

  static void start(const std::shared_ptr<Session>& self) {
    asio::co_spawn(
        self->stream_.get_executor(),
        [self]() -> asio::awaitable<void> {
          while (co_await self->serve_one()) {
          }
          self->shut();
        },
        [self](const std::exception_ptr&) {
          self->shut();
          self->core_.leave(*self);
        });
  }

  // From any thread: there may be news for a stream.
  void poke() {
    if (!streaming_ || poked_.exchange(true)) return;
    asio::post(stream_.get_executor(), [self = shared_from_this()] { self->timer_.cancel(); });
  }
  void close() {
    asio::post(stream_.get_executor(), [self = shared_from_this()] { self->shut(); });
  }

 private:
  asio::awaitable<bool> serve_one();
  asio::awaitable<bool> read_body(http::request_parser<http::string_body>& parser);
  asio::awaitable<bool> send(const Response& response, bool keep_alive, bool with_body);
  asio::awaitable<void> send_read_error(beast::error_code error);
  asio::awaitable<void> send_stream(Stream& body);
  asio::awaitable<bool> send_stream_head(const Stream& body);
  asio::awaitable<bool> send_chunk(const Stream::Chunk& chunk);
  void notice_close();
  void shut() {
    closed_ = true;
    timer_.cancel();
    stream_.close();
  }

  Core& core_;
  beast::basic_stream<Protocol> stream_;
  asio::steady_timer timer_;  // ends a stream's wait for news
  beast::flat_buffer buffer_;
  std::optional<std::string> denied_;
  bool closed_ = false;
  std::atomic<bool> streaming_ = false;  // a body that follows the store is being sent
  std::atomic<bool> poked_ = false;
};

bool Core::enter(Session& session) {
  const std::scoped_lock lock(mutex);
  if (stopping || sessions.size() >= options.max_connections) return false;
  sessions.insert(&session);
  return true;
}

void Core::leave(Session& session) {
  const std::scoped_lock lock(mutex);
  sessions.erase(&session);
  if (sessions.empty()) empty.notify_all();
}

bool Core::enter_stream() {
  const std::scoped_lock lock(mutex);
  if (streams >= options.max_streams) return false;
  ++streams;
  return true;
}

void Core::leave_stream() {
  const std::scoped_lock lock(mutex);
  --streams;
}

void Core::poke_streams() {
  const std::scoped_lock lock(mutex);
  for (auto* session : sessions) session->poke();
}

void Core::close_sessions() {
  const std::scoped_lock lock(mutex);
  for (auto* session : sessions) session->close();
}

Request plain_request(const http::request<http::string_body>& message) {
  const auto header = [&](http::field field) {
    const auto value = message[field];
    return std::string(value.data(), value.size());
  };
  return {.method = std::string(message.method_string()),
          .target = std::string(message.target()),
          .accept = header(http::field::accept),
          .content_type = header(http::field::content_type),
          .body = message.body()};
}

asio::awaitable<bool> Session::serve_one() {
  http::request_parser<http::string_body> parser;
  parser.body_limit(core_.options.body_limit);
  parser.header_limit(static_cast<std::uint32_t>(core_.options.header_limit));
  stream_.expires_after(core_.options.idle_timeout);
  const auto [error, size] = co_await http::async_read_header(stream_, buffer_, parser, kNoThrow);
  if (denied_ && !error) {
    const auto refusal = to_response(forbidden(*denied_));
    co_await send(refusal, false, true);
    co_return false;
  }
  if (error) {
    co_await send_read_error(error);
    co_return false;
  }
  if (!co_await read_body(parser)) co_return false;
  const bool keep_alive = parser.keep_alive();
  const bool with_body = parser.get().method() != http::verb::head;
  const auto request = plain_request(parser.get());
  Reply reply;
  std::function<Reply()> work = [this, &request] { return core_.handler.handle(request); };
  co_await core_.on_worker(work, reply);
  if (const auto* response = std::get_if<Response>(&reply)) co_return co_await send(*response, keep_alive, with_body);
  auto& body = std::get<std::unique_ptr<Stream>>(reply);
  co_await send_stream(*body);
  co_return false;
}

asio::awaitable<bool> Session::read_body(http::request_parser<http::string_body>& parser) {
  if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    const auto [error, size] = co_await http::async_write(stream_, go_on, kNoThrow);
    if (error) co_return false;
  }
  const auto [error, size] = co_await http::async_read(stream_, buffer_, parser, kNoThrow);
  if (error) co_await send_read_error(error);
  co_return !error;
}

// A request that could not be read gets its Status where the client can still hear it.
asio::awaitable<void> Session::send_read_error(beast::error_code error) {
  StatusError status;
  if (error == http::error::body_limit) {
    status = {.code = 413,
              .reason = "RequestEntityTooLarge",
              .message = fmt::format("the request body is larger than {} bytes", core_.options.body_limit)};
  } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    status = {.code = 431,
              .reason = "BadRequest",
              .message = fmt::format("the request's header is larger than {} bytes", core_.options.header_limit)};
  } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
             error != http::error::end_of_stream && error != http::error::partial_message) {
    status = bad_request(fmt::format("the request is not HTTP/1.1: {}", error.message()));
  } else {
    co_return;
  }
  const auto response = to_response(status);
  co_await send(response, false, true);
}

asio::awaitable<bool> Session::send(const Response& response, bool keep_alive, bool with_body) {
  keep_alive = keep_alive && !core_.stopping;
  http::response<http::string_body> message(static_cast<http::status>(response.status), 11);
  message.set(http::field::content_type, response.content_type);
  message.set(http::field::cache_control, "no-cache, private");
  for (const auto& [name, value] : response.headers) message.insert(name, value);
  message.keep_alive(keep_alive);
  if (with_body) message.body() = response.body;
  message.content_length(response.body.size());
  stream_.expires_after(core_.options.write_timeout);
  http::response_serializer<http::string_body> serializer(message);
  const auto [error, size] = co_await http::async_write(stream_, serializer, kNoThrow);
  co_return !error && keep_alive;
}

asio::awaitable<bool> Session::send_stream_head(const Stream& body) {
  http::response<http::empty_body> head(http::status::ok, 11);
  head.set(http::field::content_type, body.content_type());
  head.set(http::field::cache_control, "no-cache, private");
  head.chunked(true);
  head.keep_alive(false);
  stream_.expires_after(core_.options.write_timeout);
  http::response_serializer<http::empty_body> serializer(head);
  const auto [error, size] = co_await http::async_write_header(stream_, serializer, kNoThrow);
  co_return !error;
}

asio::awaitable<bool> Session::send_chunk(const Stream::Chunk& chunk) {
  if (chunk.bytes.empty() && !chunk.end) co_return true;
  stream_.expires_after(core_.options.write_timeout);
  if (!chunk.bytes.empty()) {
    const auto framed = http::make_chunk(asio::const_buffer(chunk.bytes.data(), chunk.bytes.size()));
    const auto [error, size] = co_await asio::async_write(stream_, framed, kNoThrow);
    if (error) co_return false;
  }
  if (chunk.end) {
    const auto last = http::make_chunk_last();
    co_await asio::async_write(stream_, last, kNoThrow);
  }
  co_return !chunk.end;
}

// Reads beside the stream: the client's close (or anything it sends) ends it.
void Session::notice_close() {
  stream_.expires_never();
  asio::co_spawn(
      stream_.get_executor(),
      [self = shared_from_this()]() -> asio::awaitable<void> {
        char byte = 0;
        co_await self->stream_.async_read_some(asio::mutable_buffer(&byte, 1), kNoThrow);
        self->shut();
      },
      asio::detached);
}

asio::awaitable<void> Session::send_stream(Stream& body) {
  if (!core_.enter_stream()) {
    const StatusError full{.code = 429,
                           .reason = "TooManyRequests",
                           .message = fmt::format("{} watches are open, more are not served", core_.options.max_streams),
                           .retry_after = 1};
    const auto refusal = to_response(full);
    co_await send(refusal, false, true);
    co_return;
  }
  streaming_ = body.follows_store();
  bool going = co_await send_stream_head(body);
  Stream::Chunk chunk;
  std::function<Stream::Chunk()> work = [&body] { return body.next(); };
  if (going) notice_close();
  while (going && !closed_) {
    poked_ = false;
    co_await core_.on_worker(work, chunk);
    going = co_await send_chunk(chunk);
    if (!going || chunk.more || closed_ || poked_) continue;
    timer_.expires_after(std::max(std::chrono::milliseconds{0}, body.look_again() - core_.clock.steady()));
    if (poked_) continue;
    co_await timer_.async_wait(kNoThrow);
  }
  streaming_ = false;
  core_.leave_stream();
}

}  // namespace

struct Server::Impl {
  Impl(ServerOptions options, store::Objects& objects, Hooks hooks, Clock& clock)
      : core(std::move(options), objects, std::move(hooks), clock), acceptor(asio::make_strand(core.io)) {}

  Core core;
  asio::basic_socket_acceptor<Protocol> acceptor;
  std::vector<std::jthread> threads;
  std::mutex follow_mutex;
  std::unique_ptr<store::Watch> changes;  // under follow_mutex while it is replaced
  std::jthread follower;
  struct stat socket_file{};
  bool running = false;

  asio::awaitable<void> accept_connections();
  void follow_store();
  Result<void> watch_store();
  void remove_socket_file() const;
};

asio::awaitable<void> Server::Impl::accept_connections() {
  while (!core.stopping) {
    const auto strand = asio::make_strand(core.io);
    auto [error, socket] = co_await acceptor.async_accept(strand, kNoThrow);
    if (error == asio::error::operation_aborted || core.stopping) co_return;
    if (error) {  // out of descriptors: others have to close first
      log::warning("a connection could not be accepted, ignoring", {{"error", error.message()}});
      asio::steady_timer pause(acceptor.get_executor(), std::chrono::milliseconds(100));
      co_await pause.async_wait(kNoThrow);
      continue;
    }
    auto session = std::make_shared<Session>(core, std::move(socket));
    if (core.enter(*session)) Session::start(session);
  }
}

Result<void> Server::Impl::watch_store() {
  auto& store = core.objects.store();
  auto fresh = store.watch({.kind = std::nullopt, .after = store.revision()});
  if (!fresh) return fail(std::move(fresh).error());
  const std::scoped_lock lock(follow_mutex);
  changes = *std::move(fresh);
  return {};
}

// One watcher of everything tells all streams to look at their own: no thread a stream.
void Server::Impl::follow_store() {
  while (!core.stopping) {
    const auto news = changes->next(4096, std::chrono::seconds(30));
    if (core.stopping) return;
    if (!news && !watch_store()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the store is closing or cannot answer
    }
    if (!news || !news->empty()) core.poke_streams();
  }
}

void Server::Impl::remove_socket_file() const {
  struct stat now{};
  const auto& path = core.options.socket_path;
  if (::lstat(path.c_str(), &now) != 0 || now.st_dev != socket_file.st_dev || now.st_ino != socket_file.st_ino) return;
  ::unlink(path.c_str());
}

namespace {
Clock& system_clock() {
  static SystemClock clock;
  return clock;
}
}  // namespace

Server::Server(ServerOptions options, store::Objects& objects, Hooks hooks)
    : Server(std::move(options), objects, std::move(hooks), system_clock()) {}

Server::Server(ServerOptions options, store::Objects& objects, Hooks hooks, Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(options), objects, std::move(hooks), clock)) {}

Server::~Server() { stop(); }

Result<void> Server::start() {
  auto& impl = *impl_;
  BGR_TRY(auto fd, listen_on(impl.core.options));
  BGR_CHECK(impl.watch_store());
  beast::error_code error;
  impl.acceptor.assign(Protocol(), fd.get(), error);
  if (error) return fail(internal(fmt::format("listening on {}: {}", impl.core.options.socket_path, error.message())));
  (void)fd.release();  // the acceptor's now
  ::lstat(impl.core.options.socket_path.c_str(), &impl.socket_file);
  impl.running = true;
  asio::co_spawn(impl.acceptor.get_executor(), impl.accept_connections(), asio::detached);
  for (std::size_t i = 0; i < impl.core.options.threads; ++i) impl.threads.emplace_back([&impl] { impl.core.io.run(); });
  impl.follower = std::jthread([&impl] { impl.follow_store(); });
  return {};
}

void Server::stop() {
  auto& impl = *impl_;
  if (!std::exchange(impl.running, false)) return;
  impl.core.stopping = true;
  impl.remove_socket_file();
  {
    const std::scoped_lock lock(impl.follow_mutex);
    impl.changes->wake();
  }
  impl.follower.join();
  asio::post(impl.acceptor.get_executor(), [&impl] { impl.acceptor.close(); });
  impl.core.close_sessions();
  {
    std::unique_lock lock(impl.core.mutex);
    impl.core.empty.wait_for(lock, kStopPatience, [&] { return impl.core.sessions.empty(); });
    if (!impl.core.sessions.empty()) impl.core.io.stop();
  }
  impl.threads.clear();
  impl.core.workers.join();
}

}  // namespace banger::server
