#pragma once

// Containing: which of the ranges that do not overlap an address lies in.

namespace zerohop::fake_cuda {

// `by_base`: the address of a range's first byte, and what has its `bytes`. The entry, or the end.
template <typename Map>
auto Containing(Map& by_base, typename Map::key_type address) {
  auto found = by_base.upper_bound(address);
  if (found == by_base.begin()) return by_base.end();
  --found;
  return address - found->first < found->second.bytes ? found : by_base.end();
}

}  // namespace zerohop::fake_cuda
