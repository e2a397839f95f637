// SPDX-License-Identifier: Apache-2.0
// Decides which objects that no file declares any more may go, and which wait for a person.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "api/meta.hpp"

namespace banger::intake {

enum class DirectoryState {
  Same,        // the one that was read before
  Replaced,    // another device or inode under the path
  Missing,     // nothing there
  Unreadable,  // there, but it cannot be read
};

struct PruneInput {
  DirectoryState directory = DirectoryState::Same;
  std::string identity;                              // of the directory as it is now; empty: none
  std::size_t owned = 0;                             // objects that came from this directory, those that are to go included
  std::map<api::ObjectKey, std::string> undeclared;  // key → uid: came from here, declared by no file now
  std::set<api::ObjectKey> waiting;                  // of those, the ones that have waited before
  std::string token;                                 // under which they waited
  std::string confirmed_token;                       // what a person has confirmed
  bool held = false;                                 // adopt mode: the database was lost, and the manifests are still being read
  std::int64_t now_ms = 0;                           // makes a new token unlike every earlier one
};

struct PruneDecision {
  std::set<api::ObjectKey> remove;
  std::set<api::ObjectKey> wait;
  std::string token;    // of the waiting; empty when none wait
  std::string reason;   // of the condition: NothingWaits | TooMany | AdoptMode | DirectoryReplaced | DirectoryMissing |
                        // DirectoryUnreadable
  std::string message;  // a sentence for people
};

// What goes at once from a directory of this many objects: max(2, 20 %).
std::size_t prune_limit(std::size_t owned);

// Pure. Removals that have waited do not count against new ones: deleting files one after another is never in a person's way.
// The token changes whenever the waiting set or the directory does: a confirmation is good for exactly what was shown.
PruneDecision decide_prune(const PruneInput& input);

}  // namespace banger::intake
