#pragma once

// Orders: what the broker, or its absence, wants of the worker.

namespace zerohop {

enum class Orders {
  kServe,  // take work
  kDrain,  // finish what was submitted, then stop
  kLeave,  // the broker is gone: drop what is held; nobody waits for it
};

}  // namespace zerohop
