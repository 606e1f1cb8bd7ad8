#pragma once

// HandleTable: what a process knows by handle. Handles are numbers that point
// nowhere, and never the same twice. Any thread.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>

namespace zerohop::fake_cuda {

template <typename Handle, typename Object>
class HandleTable {
 public:
  explicit HandleTable(uint64_t before_first) : last_(before_first) {}

  Handle Add(std::shared_ptr<Object> object) {
    const std::unique_lock guard(lock_);
    const auto handle = reinterpret_cast<Handle>(++last_);
    by_handle_[handle] = std::move(object);
    return handle;
  }
  // Null for a handle of nothing.
  std::shared_ptr<Object> Find(Handle handle) const {
    const std::shared_lock guard(lock_);
    const auto found = by_handle_.find(handle);
    return found == by_handle_.end() ? nullptr : found->second;
  }
  // The same, and the handle is nobody's any more.
  std::shared_ptr<Object> Remove(Handle handle) {
    const std::unique_lock guard(lock_);
    const auto node = by_handle_.extract(handle);
    return node.empty() ? nullptr : std::move(node.mapped());
  }
  uint64_t size() const {
    const std::shared_lock guard(lock_);
    return by_handle_.size();
  }

 private:
  mutable std::shared_mutex lock_;
  uint64_t last_;
  std::map<Handle, std::shared_ptr<Object>> by_handle_;
};

}  // namespace zerohop::fake_cuda
