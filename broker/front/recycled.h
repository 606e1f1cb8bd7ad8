#pragma once

// Recycled: memory of objects that come and go with every call, kept for the
// next ones.
//
// Each thread keeps the blocks that were given back on it, up to as many as
// calls are commonly in flight; a block may be given back on another thread
// than took it. Under AddressSanitizer none is kept, or it would not see who
// uses an object that is gone.

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/base/config.h"

namespace zerohop {

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
constexpr size_t kMostKept = 0;
#else
constexpr size_t kMostKept = 256;
#endif

// Blocks for one T each.
template <typename T>
class RecycledMemory {
 public:
  static void* Take() {
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    if (kept_.first == nullptr) return ::operator new(kBytes);
    --kept_.size;
    return std::exchange(kept_.first, kept_.first->next);
  }
  static void GiveBack(void* block) {
    if (kept_.size == kMostKept) return ::operator delete(block);
    ++kept_.size;
    kept_.first = new (block) Block{kept_.first};
  }
  // How many this thread keeps.
  static size_t kept() { return kept_.size; }

 private:
  struct Block {
    Block* next;
  };
  struct Kept {
    Block* first = nullptr;
    size_t size = 0;
    ~Kept() {
      while (first != nullptr) ::operator delete(std::exchange(first, first->next));
    }
  };
  static constexpr size_t kBytes = std::max(sizeof(T), sizeof(Block));

  static thread_local Kept kept_;
};

template <typename T>
thread_local typename RecycledMemory<T>::Kept RecycledMemory<T>::kept_;

// Base of a class whose objects are made by `new`; T is that class, and final.
template <typename T>
class Recycled {
 public:
  static void* operator new(size_t bytes) {
    static_assert(std::is_final_v<T>);
    assert(bytes == sizeof(T));
    return RecycledMemory<T>::Take();
  }
  static void operator delete(void* block) { RecycledMemory<T>::GiveBack(block); }
};

// For std::allocate_shared.
template <typename T>
class RecyclingAllocator {
 public:
  using value_type = T;
  RecyclingAllocator() = default;
  template <typename Other>
  RecyclingAllocator(const RecyclingAllocator<Other>& /*rebound*/) {}

  T* allocate(size_t objects) {
    assert(objects == 1);
    return static_cast<T*>(RecycledMemory<T>::Take());
  }
  void deallocate(T* block, size_t /*objects*/) { RecycledMemory<T>::GiveBack(block); }
  bool operator==(const RecyclingAllocator& /*other*/) const { return true; }
};

}  // namespace zerohop
