// SPDX-License-Identifier: Apache-2.0
#include "controller/metrics.hpp"

#include <doctest/doctest.h>

#include <limits>

namespace banger::controller {
namespace {

TEST_CASE("a family of gauges that is set whole forgets what is gone") {
  Metrics metrics;
  metrics.set_gauges("fill", "How full.", {{{{"name", "a"}}, 1}, {{{"name", "b"}}, 2}});
  CHECK(metrics.text().find("fill{name=\"a\"} 1\nfill{name=\"b\"} 2\n") != std::string::npos);
  metrics.set_gauges("fill", "How full.", {{{{"name", "b"}}, 3}});
  CHECK(metrics.text() == "# HELP fill How full.\n# TYPE fill gauge\nfill{name=\"b\"} 3\n");
}

TEST_CASE("the registry prints as Prometheus reads it") {
  Metrics metrics;
  metrics.counter("banger_b_total", "Things\\counted.\nTwice.", {{"kind", "vm"}, {"why", "a\"b\\c\nd"}}).add(2);
  metrics.counter("banger_b_total", "not this help", {{"kind", "network"}}).add();
  metrics.gauge("banger_a", "A number.").set(-1.5);
  auto& seconds = metrics.histogram("banger_c_seconds", "How long.", {0.1, 1}, {{"kind", "vm"}});
  for (const double value : {0.05, 0.1, 0.5, 7.0}) seconds.observe(value);
  metrics.histogram("banger_d_seconds", "Bare.", {1}).observe(0.25);
  CHECK(metrics.text() ==
        R"(# HELP banger_a A number.
# TYPE banger_a gauge
banger_a -1.5
# HELP banger_b_total Things\\counted.\nTwice.
# TYPE banger_b_total counter
banger_b_total{kind="network"} 1
banger_b_total{kind="vm",why="a\"b\\c\nd"} 2
# HELP banger_c_seconds How long.
# TYPE banger_c_seconds histogram
banger_c_seconds_bucket{kind="vm",le="0.1"} 2
banger_c_seconds_bucket{kind="vm",le="1"} 3
banger_c_seconds_bucket{kind="vm",le="+Inf"} 4
banger_c_seconds_sum{kind="vm"} 7.65
banger_c_seconds_count{kind="vm"} 4
# HELP banger_d_seconds Bare.
# TYPE banger_d_seconds histogram
banger_d_seconds_bucket{le="1"} 1
banger_d_seconds_bucket{le="+Inf"} 1
banger_d_seconds_sum 0.25
banger_d_seconds_count 1
)");
}

TEST_CASE("infinite and missing numbers have Prometheus' spelling") {
  Metrics metrics;
  metrics.gauge("a", "").set(std::numeric_limits<double>::infinity());
  metrics.gauge("b", "").set(std::numeric_limits<double>::quiet_NaN());
  CHECK(metrics.text() == "# HELP a \n# TYPE a gauge\na +Inf\n# HELP b \n# TYPE b gauge\nb NaN\n");
}

TEST_CASE("the same name and labels give the same series") {
  Metrics metrics;
  CHECK(&metrics.counter("a", "", {{"x", "1"}}) == &metrics.counter("a", "", {{"x", "1"}}));
  CHECK(&metrics.counter("a", "", {{"x", "1"}}) != &metrics.counter("a", "", {{"x", "2"}}));
}

TEST_CASE("computed gauges are set right before they are printed") {
  Metrics metrics;
  int calls = 0;
  metrics.before_text([&] { metrics.gauge("calls", "").set(++calls); });
  CHECK(metrics.text() == "# HELP calls \n# TYPE calls gauge\ncalls 1\n");
  CHECK(metrics.text() == "# HELP calls \n# TYPE calls gauge\ncalls 2\n");
}

}  // namespace
}  // namespace banger::controller
