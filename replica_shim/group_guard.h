#pragma once

// GroupGuard: a process that waits for this one to end, however it ends, and
// then kills all that is left of its process group: what an engine started
// must not outlive its replica, even where broker and replica are both killed.

namespace zerohop {

// In a replica that the broker spawned, which leads a group of its own. Without
// effect anywhere else, and where the system has no process to spare.
void GuardProcessGroup();

}  // namespace zerohop
