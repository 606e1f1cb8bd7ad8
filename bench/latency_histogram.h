#pragma once

// LatencyHistogram: counts durations in buckets 0.4 % wide, so that a
// percentile costs no list of samples. One thread records; Merge after it ended.

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <vector>

namespace zerohop::bench {

class LatencyHistogram {
 public:
  using Duration = std::chrono::nanoseconds;

  void Record(Duration latency) {
    const uint64_t ns = static_cast<uint64_t>(std::max<int64_t>(latency.count(), 0));
    ++counts_[std::min(BucketOf(ns), counts_.size() - 1)];
    ++total_;
    longest_ = std::max(longest_, ns);
  }

  void Merge(const LatencyHistogram& other) {
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    longest_ = std::max(longest_, other.longest_);
  }

  uint64_t total() const { return total_; }
  double LongestMicros() const { return static_cast<double>(longest_) / 1e3; }

  // The latency that `fraction` of all were not above; 0 when nothing was recorded.
  double Micros(double fraction) const {
    const double wanted = fraction * static_cast<double>(total_);
    double seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += static_cast<double>(counts_[i]);
      if (counts_[i] > 0 && seen >= wanted) return (Floor(i) + Floor(i + 1)) / 2e3;
    }
    return 0;
  }

 private:
  static constexpr int kFineBits = 8;  // 256 buckets for every doubling
  static constexpr size_t kFine = size_t{1} << kFineBits;

  static size_t BucketOf(uint64_t ns) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(ns)) - 1 - kFineBits);
    return static_cast<size_t>(shift) * kFine + static_cast<size_t>(ns >> shift);
  }

  static double Floor(size_t bucket) {
    if (bucket < 2 * kFine) return static_cast<double>(bucket);
    const size_t shift = bucket / kFine - 1;
    return static_cast<double>((bucket - shift * kFine) << shift);
  }

  std::vector<uint64_t> counts_ = std::vector<uint64_t>(kFine * 34);  // to above an hour
  uint64_t total_ = 0;
  uint64_t longest_ = 0;
};

}  // namespace zerohop::bench
