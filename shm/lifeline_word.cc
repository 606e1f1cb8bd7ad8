#include "shm/lifeline_word.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace zerohop {

LifelineHolder::LifelineHolder(std::atomic<uint32_t>* word) : word_(word) {
  entry_.next = &head_.list;
  head_.list.next = &entry_;
  // The kernel finds the word at this distance from the entry.
  head_.futex_offset = reinterpret_cast<char*>(word_) - reinterpret_cast<char*>(&entry_);
  size_t size = 0;
  ::syscall(SYS_get_robust_list, 0, &before_, &size);
  ::syscall(SYS_set_robust_list, &head_, sizeof head_);
  const auto tid = static_cast<uint32_t>(::syscall(SYS_gettid));
  // Always with WAITERS: a broker that maps the word read-only cannot announce that it waits.
  word_->store(tid | FUTEX_WAITERS, std::memory_order_relaxed);  // the value is the whole message
}

LifelineHolder::~LifelineHolder() {
  word_->store(0, std::memory_order_relaxed);  // the value is the whole message
  ::syscall(SYS_set_robust_list, before_, sizeof *before_);
}

}  // namespace zerohop
