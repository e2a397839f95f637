// SPDX-License-Identifier: Apache-2.0
#include "actuators/names.hpp"

#include <doctest/doctest.h>
#include <linux/dm-ioctl.h>
#include <linux/if.h>
#include <linux/loop.h>
#include <linux/netfilter/nf_tables.h>
#include <sys/un.h>

#include <array>
#include <climits>
#include <set>
#include <string>

#include "base/random.hpp"

using namespace banger;
using namespace banger::actuators;

namespace {

const std::string kUid = "0f5b1c2a-8d3e-4f60-9a1b-2c3d4e5f6071";
const api::ObjectKey kVmKey{api::Kind::VirtualMachine, "default", "web"};

// All that is named after a VM, in one set a space of names; a network's beside them, since links share one space.
struct Names {
  std::set<std::string> links, tables, groups, nodes, uuids, loops, paths;
  void add(const Layout& layout, const std::string& uid) {
    for (std::size_t nic = 0; nic < 8; ++nic) links.insert(tap_name(uid, nic));
    links.insert(bridge_name(uid));
    tables.insert(nat_table_name(uid));
    groups.insert(cgroup_name(uid));
    nodes.insert(dm_name(uid));
    uuids.insert(dm_uuid(uid));
    loops.insert(cow_loop_label(uid));
    for (const auto& path : {vm_dir(layout, uid), vm_run_dir(layout, uid), image_dir(layout, uid), kernel_dir(layout, uid)})
      paths.insert(path);
  }
};

}  // namespace

TEST_CASE("a label says whose, by which daemon, and of which object, and reads back as it was written") {
  const Label whole{kUid, "0123abcd", kVmKey};
  CHECK(label_text(whole) == "banger:uid=" + kUid + " by=0123abcd of=VirtualMachine/default/web");
  CHECK(parse_label(label_text(whole)) == whole);
  const Label network{kUid, "0123abcd", api::ObjectKey{api::Kind::Network, "", "lan"}};
  CHECK(label_text(network) == "banger:uid=" + kUid + " by=0123abcd of=Network//lan");
  CHECK(parse_label(label_text(network)) == network);
  const Label old{.uid = kUid};
  CHECK(label_text(old) == "banger:uid=" + kUid);
  CHECK(parse_label(label_text(old)) == old);
}

TEST_CASE("what later versions add to a label is passed over, what is no label is none") {
  const auto uid = "banger:uid=" + kUid;
  CHECK(parse_label(uid + " since=2031 by=0123abcd") == Label{kUid, "0123abcd", {}});
  for (const std::string tail :
       {" of=VirtualMachine//web", " of=Network/ns/lan", " of=Pod/default/x", " of=VirtualMachine/default",
        " of=VirtualMachine/default/", " of=VirtualMachine/default/a/b", " of=Network//\x1b[31m"}) {
    CAPTURE(tail);
    CHECK(parse_label(uid + " by=0123abcd" + tail) == Label{kUid, "0123abcd", {}});
  }
  for (const auto& text : {std::string(), std::string("uplink"), std::string("banger:uid="), "xbanger:uid=" + kUid,
                           std::string("banger:uid=../../etc"), uid + "0", uid + "\tby=0123abcd",
                           uid + " by=", uid + " by=0123ABCD", uid + " by=0123abcde"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_label(text));
    CHECK(owner_by_label(text, "0123abcd").empty());
  }
}

TEST_CASE("only this daemon's labels and those of before daemons were told apart make an object ours") {
  CHECK(owner_by_label(label_text({kUid, "0123abcd", kVmKey}), "0123abcd") == kUid);
  CHECK(owner_by_label(label_text({kUid, "89abcdef", kVmKey}), "0123abcd").empty());
  CHECK(owner_by_label(label_text({.uid = kUid}), "0123abcd") == kUid);
  CHECK(instance_id("/var/lib/banger") == "d0ee2fb1");  // printf 'banger /var/lib/banger' | sha256sum
  CHECK(instance_id("/var/lib/banger") != instance_id("/var/lib/banger2"));
}

TEST_CASE("every label fits an alias and a table's comment, whatever the object is called") {
  const Label longest{kUid, "0123abcd", api::ObjectKey{api::Kind::VirtualMachine, std::string(63, 'n'), std::string(63, 'w')}};
  CHECK(parse_label(label_text(longest)) == longest);
  for (std::size_t length = 1; length <= 253; ++length) {
    const Label label{kUid, "0123abcd", api::ObjectKey{api::Kind::AddressLease, "", std::string(length, 'n')}};
    const auto text = label_text(label);
    CHECK(text.size() <= kMaxLabel);
    CHECK(text.size() < IFALIASZ);
    CHECK(2 + text.size() + 1 <= NFT_USERDATA_MAXLEN);
    CHECK(parse_label(text)->uid == kUid);
  }
}

TEST_CASE("every name fits where it goes") {
  for (const std::string uid : {"00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"}) {
    for (std::size_t nic = 0; nic < 8; ++nic) CHECK(tap_name(uid, nic).size() < IFNAMSIZ);
    CHECK(bridge_name(uid).size() < IFNAMSIZ);
    CHECK(nat_table_name(uid).size() < NFT_TABLE_MAXNAMELEN);
    CHECK(dm_name(uid).size() < DM_NAME_LEN);
    CHECK(dm_uuid(uid).size() < DM_UUID_LEN);
    CHECK(cow_loop_label(uid).size() < LO_NAME_SIZE);
    CHECK(std::filesystem::path(cgroup_name(uid)).filename().native().size() <= NAME_MAX);
    CHECK(vm_dir({"/var/lib/banger", "/run/banger"}, uid).filename().native().size() <= NAME_MAX);
    const Layout deepest{"/s", "/" + std::string(80, 'r')};
    CHECK(monitor_socket_path(deepest, uid).native().size() < sizeof(sockaddr_un::sun_path));
    CHECK(is_our_link_name(tap_name(uid, 7)));
    CHECK(is_our_link_name(bridge_name(uid)));
    CHECK(short_id_of_tap(tap_name(uid, 7)) == short_id(uid));
    CHECK_FALSE(short_id_of_tap(bridge_name(uid)));
    CHECK(short_id(*uid_of_short_id(short_id(uid))) == short_id(uid));
    CHECK(is_uid(*uid_of_short_id(short_id(uid))));
    CHECK(uid_of_cgroup(cgroup_name(uid)) == uid);
    CHECK(uid_of_dm_uuid(dm_uuid(uid)) == uid);
    CHECK(uid_of_cow_label(cow_loop_label(uid)) == uid);
  }
}

TEST_CASE("a short id is the text by which the store lets no two objects share one") {
  // The same pins as in store/record_test.cpp, which may not see this function.
  CHECK(short_id("00000000-0000-4000-8000-000000000000") == "aaaaaaaaab");
  CHECK(short_id("ffffffff-ffff-4fff-bfff-ffffffffffff") == "7777777775");
  CHECK(short_id("01234567-89ab-4def-8123-456789abcdef") == "aerukz4jvn");
}

TEST_CASE("names that only look like ours are not") {
  for (const std::string_view name : {"", "eth0", "bgr", "bgb", "bgbabcdefghi", "bgbabcdefghijk", "bgbabcdefghi1",
                                      "bgrabcdefghij-8", "bgrabcdefghij-", "bgrabcdefghij_0", "bgrabcdefghiJ-0"}) {
    CAPTURE(name);
    CHECK_FALSE(is_our_link_name(name));
  }
  CHECK_FALSE(uid_of_short_id("abcdefghi"));
  CHECK_FALSE(uid_of_short_id("../../../x"));
}

TEST_CASE("two VMs meet in no name unless their short ids are the same, which the store refuses") {
  const Layout layout{"/s", "/r"};
  SystemRandom random;
  Names all;
  std::set<std::string> shorts;
  constexpr std::size_t kMany = 2000;
  for (std::size_t i = 0; i < kMany; ++i) {
    const auto uid = new_uid(random);
    if (!shorts.insert(short_id(uid)).second) continue;  // 1 in 2^29: not two objects of one store
    all.add(layout, uid);
  }
  // And the nearest neighbours: one bit apart within what the short id takes.
  for (const std::string uid : {"0f5b1c2a-8d3e-4f60-9a1b-2c3d4e5f6071", "0f5b1c2a-8d3e-5f60-9a1b-2c3d4e5f6071",
                                "0f5b1c2b-8d3e-4f60-9a1b-2c3d4e5f6071", "8f5b1c2a-8d3e-4f60-9a1b-2c3d4e5f6071"}) {
    if (shorts.insert(short_id(uid)).second) all.add(layout, uid);
  }
  const auto count = shorts.size();
  CHECK(all.links.size() == 9 * count);
  CHECK(all.paths.size() == 4 * count);
  for (const auto* names : {&all.tables, &all.groups, &all.nodes, &all.uuids, &all.loops}) CHECK(names->size() == count);
}
