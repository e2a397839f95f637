// SPDX-License-Identifier: Apache-2.0
// rtnetlink sockets: one request at a time each, and a few of them so that slow deletions do not queue behind each other.
#pragma once

#include <linux/netlink.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "actuators/net/link_messages.hpp"
#include "base/result.hpp"

struct nl_sock;

namespace banger::actuators::net {

class RouteSocket {
 public:
  static Result<RouteSocket> open();

  // Sends a change and waits for its acknowledgement. Errors carry the errno and, where the kernel gives one, its own sentence.
  Result<void> change(const Message& message, std::string_view doing);

  // Sends a question and hands each answer to the visitor. A dump that the kernel calls inconsistent is asked again from the
  // start, after `again`; Busy when that keeps happening.
  using Visit = std::function<void(const nlmsghdr&)>;
  Result<void> ask(const Message& message, std::string_view doing, const Visit& visit, const std::function<void()>& again);

 private:
  struct Close {
    void operator()(nl_sock* socket) const;
  };
  enum class Dump { Whole, Interrupted };
  explicit RouteSocket(std::unique_ptr<nl_sock, Close> socket);
  Result<void> send(const Message& message, std::string_view doing);
  Result<Dump> receive(const Message& message, std::string_view doing, const Visit& visit);

  std::unique_ptr<nl_sock, Close> socket_;
  std::vector<char> buffer_;
};

class RouteSockets {
 public:
  static Result<std::unique_ptr<RouteSockets>> open(std::size_t count);

  class Lease {
   public:
    explicit Lease(RouteSockets& pool);
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease();
    RouteSocket& operator*() { return *socket_; }

   private:
    RouteSockets& pool_;
    std::unique_ptr<RouteSocket> socket_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<RouteSocket>> free_;
};

// The kernel's extended acknowledgement in an NLMSG_ERROR message, printable, or "".
std::string kernel_sentence(const nlmsghdr& header);

}  // namespace banger::actuators::net
