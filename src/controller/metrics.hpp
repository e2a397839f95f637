// SPDX-License-Identifier: Apache-2.0
// A small registry of counters, gauges and histograms, printed in the Prometheus text format.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace banger::controller {

class Counter {
 public:
  void add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  [[nodiscard]] double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  [[nodiscard]] double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);

  struct Snapshot {
    std::vector<double> bounds;          // upper bounds, ascending, without +Inf
    std::vector<std::uint64_t> at_most;  // cumulative, one a bound
    std::uint64_t count = 0;
    double sum = 0;
  };
  [[nodiscard]] Snapshot snapshot() const;

 private:
  mutable std::mutex mutex_;
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;  // not cumulative; the last one is +Inf
  double sum_ = 0;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

// Thread-safe. What it hands out lives as long as the registry; asking again for the same name and labels gives the same thing.
// The help text, and a histogram's bounds, are those of the first call for a name.
class Metrics {
 public:
  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                       const Labels& labels = {});

  // The whole family of gauges is these now; series that are not among them go, and so do references to them: a family that is
  // set like this is set in no other way.
  using Values = std::vector<std::pair<Labels, double>>;
  void set_gauges(std::string_view name, std::string_view help, const Values& values);

  // Called before every text(): the place to set gauges that are computed, not counted. It must not outlive what it captures:
  // capture a weak_ptr where that may go first.
  void before_text(std::function<void()> refresh);

  // The whole registry, ordered by name and labels (text exposition format 0.0.4).
  std::string text();

 private:
  template <class T>
  struct Family {
    std::string help;
    std::map<std::string, std::unique_ptr<T>> series;  // by the printed labels: {a="b"}
  };
  std::mutex mutex_;
  std::map<std::string, Family<Counter>, std::less<>> counters_;
  std::map<std::string, Family<Gauge>, std::less<>> gauges_;
  std::map<std::string, Family<Histogram>, std::less<>> histograms_;
  std::vector<std::function<void()>> refreshers_;
};

// client-go's buckets for queue times: 10 ns · 10^k.
std::vector<double> workqueue_buckets();
// controller-runtime's buckets for reconcile times: 5 ms … 60 s.
std::vector<double> reconcile_buckets();

}  // namespace banger::controller
