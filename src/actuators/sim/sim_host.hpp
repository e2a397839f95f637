// SPDX-License-Identifier: Apache-2.0
// A host in memory that keeps the contracts of the steps: for tests of the rooms above, and for a daemon without root.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/inventory.hpp"
#include "actuators/names.hpp"
#include "base/clock.hpp"

namespace banger::actuators::sim {

enum class FaultPoint { BeforeEffect, AfterEffect };

// Thrown out of apply() at the place where crash_after() says: what a daemon that is killed there looks like to the code above.
struct SimCrash {
  std::string step;
};

enum class SyncAnswer { Confirms, WrongNonce, Fails };

// Thread-safe. Hints are called with no lock held.
class SimHost final : public Host {
 public:
  SimHost(Layout layout, Clock& clock) : layout_(std::move(layout)), clock_(clock) {}

  Result<VmView> observe_vm(const std::string& uid, std::size_t nic_count) override;
  Result<NetworkView> observe_network(const NetworkQuery& query) override;
  Result<ImageView> observe_image(const ImageQuery& query) override;
  Result<KernelView> observe_kernel(const KernelQuery& query) override;
  Result<HostView> observe_all(const std::vector<NetworkQuery>& networks) override;
  Result<std::vector<StoredRecord>> records() override;
  Result<std::vector<HostObject>> inventory() override;
  Result<Applied> apply(const Step& step) override;
  void on_hint(std::function<void(const std::string& uid)> callback) override;

  // For very many runs: no log is kept, and vm.json is kept as a value that has not been through its text.
  void be_quick() { quick_ = true; }

  // --- the world around us ---
  void add_file(const std::string& path, Bytes size, std::int64_t mtime_ns);  // an image or kernel that a person put there
  void remove_file(const std::string& path);
  void add_host_kernel(HostKernel kernel);  // the newest so far
  void add_link(LinkView link);             // as it stands: foreign unless its alias is ours
  void remove_link(const std::string& name);
  void hold_links(bool held);  // taps that are to go stay on their way until this is false again
  void add_route(RouteView route);
  void add_nat(NatView nat);
  void flush_nat();
  void lose_sidecar(const std::string& vm_uid);
  void lose_directory(const std::string& vm_uid);                         // disks and all, also under a VMM that has them open
  void link_directory(const std::string& vm_uid);                         // moved away, and a symbolic link put in its place
  void fail_look(const std::string& vm_uid, std::optional<Error> error);  // observe_vm fails, until nullopt
  void spoil_sidecar(const std::string& vm_uid, std::string error);
  void lose_record(const std::string& uid);  // of a Network, Image or Kernel
  void spoil_record(const std::string& uid, std::string error);
  void lose_disk(const std::string& vm_uid, const std::string& disk);
  void add_stray(const std::string& vm_uid, ProcessView process);
  void add_stranger(const std::string& vm_uid, ProcessView process);  // in the VM's cgroup, which is made if need be
  void remove_strays(const std::string& vm_uid);                      // strangers too
  void set_space(SpaceLevel level);  // of the state directory; a guest that is resumed while it is Full is paused again

  // --- device-mapper and loops (sim_block.cpp) ---
  void set_device_mapper(bool present);                    // false unless said: root disks are copies then
  void set_free_loops(std::optional<std::size_t> free);    // how many more loops there may be; nullopt: any number
  void fill_cow(const std::string& vm_uid, Bytes used);    // by what the guest writes; more than there is room for: Overflow
  void break_cow(const std::string& vm_uid);               // as a write error below the COW does: Invalid, for good
  void mend_cow(const std::string& vm_uid);                // by hand, in the file; a node shows it when it is made anew
  void half_grow(const std::string& vm_uid, Bytes size);   // what a kill between the growth of root.cow and its loop's leaves
  void set_free_minors(std::optional<std::size_t> free);   // how many more nodes there may be; nullopt: any number
  void blind(const std::string& vm_uid, std::string why);  // its node and loops cannot be looked at nor changed; "": again
  void half_create(const std::string& vm_uid);             // what a kill between the creation of a node and its table leaves
  void suspend(const std::string& vm_uid);
  void wipe_node(const std::string& vm_uid);    // dmsetup remove --force while it is open: its table fails everything
  bool remove_node(const std::string& vm_uid);  // dmsetup remove; false: it is open
  void rename_node(const std::string& vm_uid, const std::string& name);
  void add_node(const std::string& name, const std::string& uuid);               // someone else's
  void open_node(const std::string& vm_uid, bool open);                          // by something that is no VMM
  std::string add_loop(const std::string& path, const std::string& label = "");  // someone else's; says its device
  void hold_loop(const std::string& device, bool held);                          // opened by something
  void detach(const std::string& device);                                        // losetup -d: not while it is held
  std::vector<SnapshotView> nodes() const;
  std::vector<LoopView> loops() const;
  void restart_daemon();  // jobs are gone, the host is as it was
  void reboot_host();     // what does not survive a reboot is gone; a new boot id

  // --- guests and VMMs ---
  void set_guest_reachable(const std::string& vm_uid, bool reachable);  // true unless said
  void set_sync_answer(const std::string& vm_uid, SyncAnswer answer);
  void set_monitor(const std::string& vm_uid, MonitorState state);
  void replace_vmm(const std::string& vm_uid);              // by another process that looks the same
  void exit_vmm(const std::string& vm_uid, ExitView exit);  // the VMM ends by itself
  void hold_kills(bool held);                               // killed processes stay, as in an uninterruptible sleep …
  void reap();                                              // … until this

  // --- jobs: finished at once, unless their name is held ---
  void hold_jobs(const std::string& name);
  void release_jobs(const std::string& name);
  void fail_jobs(const std::string& name, std::optional<Error> error);  // every job of this name, until nullopt

  // --- faults ---
  // The next apply of a step of this name fails, count times.
  void fail_next(std::string_view step, const Error& error, FaultPoint point, std::size_t count = 1);
  void clear_faults();
  // apply() throws SimCrash once this many further steps have answered Changed; nullopt: never.
  void crash_after(std::optional<std::size_t> changes);

  // --- what tests look at ---
  std::size_t mutations() const;         // steps that answered Changed
  std::vector<std::string> log() const;  // describe() of each step that answered Changed
  void clear_log();
  std::vector<std::string> leftovers() const;  // of VMs: one line a thing of ours that exists
  std::vector<LinkView> links() const;
  std::size_t vmm_count(const std::string& vm_uid) const;
  bool disk_exists(const std::string& vm_uid, const std::string& disk) const;
  std::optional<LaunchVmm> launched(const std::string& vm_uid) const;  // how the running VMM was started

 private:
  struct Cow {  // what root.cow keeps, whatever is made over it
    std::int64_t inode = 0;
    Bytes used;
    bool valid = true;
  };
  struct Loop {
    LoopView view;
    std::int64_t inode = 0;
    bool held = false;  // by something else than a node
  };
  struct Node {
    SnapshotView view;  // origin and cow name its loops
    bool opened = false;
  };
  struct Vm {
    bool directory = false;
    bool directory_link = false;  // in its place
    std::optional<Sidecar> sidecar;
    std::string sidecar_error;
    std::vector<std::string> pinned;  // addresses in known_hosts
    std::map<std::string, DiskView> disks;
    std::optional<Cow> cow;       // root.cow …
    std::int64_t base_inode = 0;  // … over this base
    std::optional<std::string> initrd_hash;
    bool run_directory = false;
    bool cgroup = false;
    std::optional<ProcessView> shim;
    std::optional<ProcessView> vmm;
    bool killed = false;
    std::vector<ProcessView> strays;
    MonitorState monitor = MonitorState::Running;
    std::optional<ExitView> exit;
    std::optional<LaunchVmm> launch;
    bool reachable = true;
    SyncAnswer sync = SyncAnswer::Confirms;
  };
  struct Fault {
    Error error;
    FaultPoint point;
  };

  RecordView record_at(const std::string& uid) const;
  VmView view_of(const std::string& uid, std::size_t nic_count, bool ask_monitor) const;
  NetworkView network_view(const NetworkQuery& query) const;
  std::vector<JobView> jobs_of(const std::string& owner_uid) const;
  FileFacts facts_of(const std::string& path) const;
  std::vector<FileFacts> files_below(const std::string& prefix) const;
  bool populated(const std::string& vm_uid) const;
  std::optional<SnapshotView> node_view(const std::string& vm_uid) const;
  std::vector<LoopView> loops_of(const std::string& vm_uid) const;
  std::int64_t open_count(const std::string& vm_uid) const;
  const Node* find_node(const std::string& vm_uid) const;
  Node* find_node(const std::string& vm_uid);
  Node* own_node(const std::string& vm_uid);
  Result<void> check_seen(const std::string& vm_uid) const;
  bool resume(Node& node, const std::string& vm_uid);
  bool waits_for_node(const std::string& vm_uid) const;
  bool loop_in_use(const std::string& device) const;
  void drop_idle_loops();
  std::int64_t inode_of(const std::string& path);
  Result<std::string> loop_over(std::int64_t inode, const LoopView& wanted);
  Result<void> check_names(const std::string& vm_uid, const Cow& cow) const;
  bool stands_as_wanted(const Node& node, const Vm& vm, Bytes size) const;
  Result<std::string> make_cow(const MakeRootDisk& job, Vm& vm);
  void unlink_block_files(Vm& vm, const std::string& vm_uid);
  void end_vmm(const std::string& uid, Vm& vm, ExitView exit);
  std::optional<Error> take_fault(const std::string& step, FaultPoint point);
  Result<Applied> effect(const Step& step);

  Result<Applied> run(const MakeVmDirectory& step);
  Result<Applied> run(const WriteSidecar& step);
  Result<Applied> run(const WriteVmInitrd& step);
  Result<Applied> run(const SyncDisks& step);
  Result<Applied> run(const ActivateRootDisk& step);
  Result<Applied> run(const GrowRootCow& step);
  Result<Applied> run(const DeactivateRootDisk& step);
  Result<Applied> run(const RemoveVmDirectory& step);
  Result<Applied> run(const WriteRecord& step);
  Result<Applied> run(const RemoveNetworkDirectory& step);
  Result<Applied> run(const RemoveImageDirectory& step);
  Result<Applied> run(const RemoveKernelDirectory& step);
  Result<Applied> run(const MakeBridge& step);
  Result<Applied> run(const MakeTap& step);
  Result<Applied> run(const RemoveLink& step);
  Result<Applied> run(const WriteNat& step);
  Result<Applied> run(const RemoveNat& step);
  Result<Applied> run(const LaunchVmm& step);
  Result<Applied> run(const ResumeVmm& step);
  Result<Applied> run(const KillVmm& step);
  Result<Applied> run(const RemoveCgroup& step);
  Result<Applied> run(const ClearRunDirectory& step);
  Result<Applied> run(const StartJob& step);
  Result<Applied> run(const ForgetJob& step);

  void reap_taps(const std::function<bool(const LinkView&)>& which);
  void drop_link(const std::string& name);
  void forget_noted();
  Result<LinkView*> own_link(const std::string& name, const std::string& owner_uid);
  void finish(JobView& job);
  Result<std::string> outcome(const JobSpec& spec);
  Result<std::string> work(const BuildImage& job);
  Result<std::string> work(const BuildInitrd& job);
  Result<std::string> work(const MakeRootDisk& job);
  Result<std::string> work(const MakeDataDisk& job);
  Result<std::string> work(const SyncGuest& job);
  Result<std::string> work(const ProbeSsh& job);
  void hint(const std::vector<std::string>& uids);

  DirectoryFacts directory_of(const std::string& uid) const;
  std::string label_of(const std::string& uid, const std::optional<api::ObjectKey>& of) const;

  const Layout layout_;
  const std::string instance_ = instance_id(layout_.state_dir);
  Clock& clock_;
  mutable std::mutex mutex_;
  std::function<void(const std::string&)> on_hint_;
  std::map<std::string, Vm> vms_;
  std::map<std::string, LinkView> links_;
  std::map<std::string, Error> unreaped_;  // taps that could not go, and why, until it is said
  bool hold_links_ = false;
  std::map<std::string, NatView> nats_;
  std::map<std::string, FileFacts> files_;
  std::set<std::string> directories_;          // of networks, images and kernels, by uid
  std::map<std::string, RecordView> records_;  // in them
  std::vector<RouteView> routes_;
  std::vector<HostKernel> kernels_;
  std::map<JobKey, JobView> jobs_;
  std::map<std::string, Node> nodes_;           // by name
  std::map<std::string, Loop> loops_;           // by device
  std::map<std::string, std::int64_t> inodes_;  // of base files and what stands on them, by path
  std::map<std::int64_t, Bytes> base_sizes_;    // by inode
  bool device_mapper_ = false;
  std::optional<std::size_t> free_loops_;
  std::optional<std::size_t> free_minors_;
  std::map<std::string, std::string> blind_;  // why, by VM
  std::map<std::string, Error> unlooked_;     // by VM
  std::int64_t next_inode_ = 100;
  std::int64_t next_loop_ = 0;
  std::set<std::string> held_jobs_;
  std::map<std::string, Error> failing_jobs_;
  std::map<std::string, std::deque<Fault>> faults_;
  std::optional<std::size_t> crash_after_;
  std::vector<std::string> hints_;  // to be called once the lock is free
  std::vector<std::string> log_;
  std::size_t mutations_ = 0;
  bool quick_ = false;
  SpaceLevel space_ = SpaceLevel::Plenty;
  bool forwarding_ = false;
  bool hold_kills_ = false;
  std::int64_t next_index_ = 10;
  std::int64_t next_pid_ = 1000;
  std::uint64_t boots_ = 1;
};

}  // namespace banger::actuators::sim
