// SPDX-License-Identifier: Apache-2.0
#include "controller/metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace banger::controller {
namespace {

std::string escaped(std::string_view text, bool label_value) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && label_value) {
      out += "\\\"";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string printed(const Labels& labels) {
  if (labels.empty()) return "";
  std::string out = "{";
  for (const auto& [name, value] : labels) {
    if (out.size() > 1) out.push_back(',');
    out += fmt::format("{}=\"{}\"", name, escaped(value, true));
  }
  return out + "}";
}

// The labels of one bucket: those of the series and le.
std::string with_bound(const std::string& labels, std::string_view bound) {
  const std::string le = fmt::format("le=\"{}\"}}", bound);
  if (labels.empty()) return "{" + le;
  return labels.substr(0, labels.size() - 1) + "," + le;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (value == std::floor(value) && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  return fmt::format("{}", value);
}

void write_head(std::string& out, std::string_view name, std::string_view help, std::string_view type) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped(help, false), name, type);
}

template <class FamilyMap>
void write_values(std::map<std::string, std::string>& blocks, const FamilyMap& families, std::string_view type) {
  for (const auto& [name, family] : families) {
    std::string& out = blocks[name];
    write_head(out, name, family.help, type);
    for (const auto& [labels, series] : family.series) out += fmt::format("{}{} {}\n", name, labels, number(series->value()));
  }
}

template <class FamilyMap>
void write_histograms(std::map<std::string, std::string>& blocks, const FamilyMap& families) {
  for (const auto& [name, family] : families) {
    std::string& out = blocks[name];
    write_head(out, name, family.help, "histogram");
    for (const auto& [labels, series] : family.series) {
      const auto now = series->snapshot();
      for (std::size_t i = 0; i < now.bounds.size(); ++i) {
        out += fmt::format("{}_bucket{} {}\n", name, with_bound(labels, number(now.bounds[i])), now.at_most[i]);
      }
      out += fmt::format("{}_bucket{} {}\n", name, with_bound(labels, "+Inf"), now.count);
      out += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, labels, number(now.sum), name, labels, now.count);
    }
  }
}

}  // namespace

void Histogram::observe(double value) {
  const std::scoped_lock lock(mutex_);
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  ++counts_[static_cast<std::size_t>(bucket)];
  sum_ += value;
}

Histogram::Snapshot Histogram::snapshot() const {
  const std::scoped_lock lock(mutex_);
  Snapshot now{.bounds = bounds_, .sum = sum_};
  for (std::size_t i = 0; i < bounds_.size(); ++i) {
    now.count += counts_[i];
    now.at_most.push_back(now.count);
  }
  now.count += counts_.back();
  return now;
}

Counter& Metrics::counter(std::string_view name, std::string_view help, const Labels& labels) {
  const std::scoped_lock lock(mutex_);
  auto& family = counters_.try_emplace(std::string(name), std::string(help)).first->second;
  auto& series = family.series[printed(labels)];
  if (!series) series = std::make_unique<Counter>();
  return *series;
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  const std::scoped_lock lock(mutex_);
  auto& family = gauges_.try_emplace(std::string(name), std::string(help)).first->second;
  auto& series = family.series[printed(labels)];
  if (!series) series = std::make_unique<Gauge>();
  return *series;
}

void Metrics::set_gauges(std::string_view name, std::string_view help, const Values& values) {
  const std::scoped_lock lock(mutex_);
  auto& family = gauges_.try_emplace(std::string(name), std::string(help)).first->second;
  family.series.clear();
  for (const auto& [labels, value] : values) {
    auto& series = family.series[printed(labels)];
    series = std::make_unique<Gauge>();
    series->set(value);
  }
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                              const Labels& labels) {
  const std::scoped_lock lock(mutex_);
  auto& family = histograms_.try_emplace(std::string(name), std::string(help)).first->second;
  auto& series = family.series[printed(labels)];
  if (!series) series = std::make_unique<Histogram>(bounds);
  return *series;
}

void Metrics::before_text(std::function<void()> refresh) {
  const std::scoped_lock lock(mutex_);
  refreshers_.push_back(std::move(refresh));
}

std::string Metrics::text() {
  std::vector<std::function<void()>> refreshers;
  {
    const std::scoped_lock lock(mutex_);
    refreshers = refreshers_;
  }
  for (const auto& refresh : refreshers) refresh();  // unlocked: they ask for series
  const std::scoped_lock lock(mutex_);
  std::map<std::string, std::string> blocks;
  write_values(blocks, counters_, "counter");
  write_values(blocks, gauges_, "gauge");
  write_histograms(blocks, histograms_);
  std::string out;
  for (const auto& [name, block] : blocks) out += block;
  return out;
}

std::vector<double> workqueue_buckets() { return {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000}; }

std::vector<double> reconcile_buckets() { return {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60}; }

}  // namespace banger::controller
