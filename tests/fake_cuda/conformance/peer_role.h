#pragma once

// What a peer does: one command a line, answered by "CODE VALUE". Memory and
// events are called by numbers that the commands return.
//
//   start                     cuInit, the primary context, a stream: before all but the next four
//   init | count | release    one call alone: cuInit, cuDeviceGetCount, cuDevicePrimaryCtxRelease
//   fork                      cuDeviceGetCount in a forked child
//   alloc BYTES               memory
//   free M | export M         handle, in hexadecimal
//   open HANDLE | close M     memory
//   fill M OFFSET BYTE COUNT  and waits
//   read M OFFSET COUNT       the byte that stands everywhere in there, or "mixed"
//   address M                 its device address
//   event FLAGS               event
//   export_event E | open_event HANDLE | destroy_event E
//   record E | query E | wait E (by the stream) | synchronize E (by the process)
//   block | unblock           the stream stands in a host function
//   query_stream | synchronize_stream
//   exit                      as from main

namespace zerohop::conformance {

inline constexpr int kPeerSocket = 3;
inline constexpr const char* kPeerRole = "--peer";

// Plays until it is told to exit or its parent is gone.
int PlayPeer();

}  // namespace zerohop::conformance
