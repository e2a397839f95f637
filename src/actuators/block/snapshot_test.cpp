// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/snapshot.hpp"

#include <doctest/doctest.h>

namespace banger::actuators::block {
namespace {

using State = SnapshotStatus::State;

TEST_CASE("the status of a snapshot is read as the kernel writes it") {
  CHECK(parse_snapshot_status("16/2048 16") == SnapshotStatus{.used = 16, .total = 2048, .metadata = 16});
  CHECK(parse_snapshot_status("256/131072 256 ") == SnapshotStatus{.used = 256, .total = 131072, .metadata = 256});
  CHECK(parse_snapshot_status("18446744073709551615/18446744073709551615 0")->used == 18446744073709551615ULL);
  CHECK(parse_snapshot_status("16/2048") == SnapshotStatus{.used = 16, .total = 2048});
  CHECK(parse_snapshot_status("Invalid")->state == State::Invalid);
  CHECK(parse_snapshot_status("Overflow")->state == State::Overflow);
  CHECK(parse_snapshot_status("Merge failed")->state == State::MergeFailed);
  CHECK(parse_snapshot_status("Unknown")->state == State::Unknown);
}

TEST_CASE("what is no status of a snapshot is not guessed at") {
  for (const auto* text : {"", " ", "16", "/", "16/", "/2048", "16/2048 x", "16/2048 16 16", "-1/2048 0", "0x10/2048 0",
                           "18446744073709551616/1 0", "invalid", "Invalid!", "1/2/3 0"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_snapshot_status(text).has_value());
  }
}

TEST_CASE("the table of a snapshot is read and written") {
  const SnapshotTable table{.origin = {7, 0}, .cow = {7, 12}, .store = "PO", .chunk = 128};
  CHECK(parse_snapshot_table("7:0 7:12 PO 128") == table);
  CHECK(parse_snapshot_table("7:0 7:12 PO 128 1 discard_zeroes_cow") == table);
  CHECK(format_snapshot_table(table) == "7:0 7:12 PO 128");
  CHECK(parse_snapshot_table("253:1 253:2 N 8")->store == "N");
  for (const auto* text :
       {"", "7:0", "7:0 7:1 PO", "7:0 7:1 PO x", "/dev/loop0 7:1 PO 128", "7 7:1 PO 128", "7:0:1 7:1 PO 128"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_snapshot_table(text).has_value());
  }
}

TEST_CASE("a quarter of the disk is set aside, within bounds and never more than it can need") {
  CHECK(default_cow_size(gib(2)) == mib(512));
  CHECK(default_cow_size(gib(100)) == gib(1));
  CHECK(default_cow_size(mib(128)) == mib(64));
  CHECK(default_cow_size(mib(16)) == full_cow_size(mib(16)));
  CHECK(default_cow_size({gib(1).value + 4096}).value % kChunkSize.value == 0);
}

TEST_CASE("the full size holds every chunk and its metadata") {
  CHECK(full_cow_size({}) == Bytes{2 * kChunkSize.value});
  CHECK(full_cow_size({1}) == Bytes{4 * kChunkSize.value});
  CHECK(full_cow_size(mib(64)).value == (1024 + 1 + 1 + 1) * kChunkSize.value);
  CHECK(full_cow_size(mib(256)).value == (4096 + 1 + 1 + 1) * kChunkSize.value);
  CHECK(full_cow_size({mib(256).value + 1}).value == (4097 + 2 + 1 + 1) * kChunkSize.value);
}

}  // namespace
}  // namespace banger::actuators::block
