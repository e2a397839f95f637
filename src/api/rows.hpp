// SPDX-License-Identifier: Apache-2.0
// Where the rows of each struct are: kind by kind in rows_<kind>.cpp.
#pragma once

#include "api/object.hpp"
#include "api/schema.hpp"

namespace banger::api::schema {

template <>
std::span<const std::string_view> spellings_of<Kind>();
template <>
std::span<const std::string_view> spellings_of<ConditionStatus>();
template <>
std::span<const Field> fields_of<OwnerReference>();
template <>
std::span<const Field> fields_of<ObjectMeta>();
template <>
std::span<const Field> fields_of<Condition>();
template <>
std::span<const Field> fields_of<KernelObjectStatus>();

template <>
std::span<const std::string_view> spellings_of<NatMode>();
template <>
std::span<const Field> fields_of<NetworkSpec>();
template <>
std::span<const Field> fields_of<NetworkStatus>();
template <>
std::span<const Field> fields_of<Network>();
template <>
std::span<const Field> fields_of<AddressLeaseSpec>();
template <>
std::span<const Field> fields_of<AddressLease>();

template <>
std::span<const std::string_view> spellings_of<KernelSource>();
template <>
std::span<const Field> fields_of<KernelSpec>();
template <>
std::span<const Field> fields_of<KernelStatus>();
template <>
std::span<const Field> fields_of<Kernel>();

template <>
std::span<const std::string_view> spellings_of<ImageFormat>();
template <>
std::span<const Field> fields_of<ImageSpec>();
template <>
std::span<const Field> fields_of<ImageStatus>();
template <>
std::span<const Field> fields_of<Image>();

template <>
std::span<const Field> fields_of<SourceFileStatus>();
template <>
std::span<const Field> fields_of<ManifestSourceSpec>();
template <>
std::span<const Field> fields_of<ManifestSourceStatus>();
template <>
std::span<const Field> fields_of<ManifestSource>();

template <>
std::span<const std::string_view> spellings_of<EventType>();
template <>
std::span<const Field> fields_of<Event>();

template <>
std::span<const std::string_view> spellings_of<PowerState>();
template <>
std::span<const std::string_view> spellings_of<RestartPolicy>();
template <>
std::span<const std::string_view> spellings_of<DiskBackend>();
template <>
std::span<const std::string_view> spellings_of<CowGrowth>();
template <>
std::span<const Field> fields_of<CowSpec>();
template <>
std::span<const Field> fields_of<RootDiskSpec>();
template <>
std::span<const Field> fields_of<DataDiskSpec>();
template <>
std::span<const Field> fields_of<NetworkInterfaceSpec>();
template <>
std::span<const Field> fields_of<SshSpec>();
template <>
std::span<const Field> fields_of<GuestFileSpec>();
template <>
std::span<const Field> fields_of<VirtualMachineSpec>();
template <>
std::span<const Field> fields_of<StepStatus>();
template <>
std::span<const Field> fields_of<NetworkInterfaceStatus>();
template <>
std::span<const Field> fields_of<VmmStatus>();
template <>
std::span<const Field> fields_of<DiskStatus>();
template <>
std::span<const Field> fields_of<TerminationStatus>();
template <>
std::span<const Field> fields_of<PendingChange>();
template <>
std::span<const Field> fields_of<SshStatus>();
template <>
std::span<const Field> fields_of<VirtualMachineStatus>();
template <>
std::span<const Field> fields_of<VirtualMachine>();

// The rows that stand beside apiVersion, kind and metadata in an object of this kind: spec and status, or an event's own.
std::span<const Field> body_fields(Kind kind);
const Type& body_type(Kind kind);
// The kind's struct inside the body; the rows' owner.
const void* body_address(const Body& body);
void* body_address(Body& body);
// A body of the kind with its default values.
Body new_body(Kind kind);

}  // namespace banger::api::schema
