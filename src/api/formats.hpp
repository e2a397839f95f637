// SPDX-License-Identifier: Apache-2.0
// What the text of a field may look like.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace banger::api::schema {

enum class Format {
  Any,
  DnsLabel,        // RFC 1123, at most 63 characters
  DnsSubdomain,    // labels with dots, at most 253
  DiskName,        // DnsLabel of at most 20 characters (virtio serial numbers), not "root"
  AbsolutePath,    // normalised: no "..", ".", "//", trailing "/" or control characters
  Ipv4,            // dotted quad
  NetworkCidr,     // /8../29 with the host bits clear
  Sha256Digest,    // "sha256:" and 64 lower-case hexadecimal digits
  PublicKey,       // one OpenSSH public key line
  KernelArgument,  // printable ASCII without white space
  LinkName,        // of a network link: at most 15 of [a-zA-Z0-9._-]
  UserName,        // of a guest's user: at most 32 of [a-z0-9_-], not starting with a digit or '-'
  Line,            // no control characters
  FileMode,        // an integer, written in octal
  DecimalText,     // an integer, written as a string of decimal digits
};

// What is wrong with text, as the end of a sentence ("must be …, is …"); nothing when it fits.
std::optional<std::string> problem_with(Format format, std::string_view text);

// For people: "DNS label", "absolute path"; empty for Any.
std::string_view name_of(Format format);

// Syntax of a label's or annotation's key: [dns-subdomain/]name of at most 63 of [A-Za-z0-9._-].
std::optional<std::string> problem_with_label_key(std::string_view key);
std::optional<std::string> problem_with_label_value(std::string_view value);

// text in quotes, cut to a length fit for a message, without anything that moves a terminal's cursor.
std::string shown(std::string_view text);

// "0644"
std::string format_mode(std::int64_t mode);
// Octal digits with their leading 0 (or 0o), up to 07777.
std::optional<std::int64_t> parse_mode(std::string_view text);

}  // namespace banger::api::schema
