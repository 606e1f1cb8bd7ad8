#include "replica_shim/packing.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>
#include <utility>

namespace zerohop {
namespace {

// What a pass of OpenVINO costs by itself, in tokens: 2.3 to 3 ms beside 0.115 ms a token (decision 0018).
constexpr uint64_t kPassTokens = 20;
// A batch is chosen from so many batches of prompts, the oldest of those that wait: more gain nothing.
constexpr size_t kBatchesToChooseFrom = 2;

// OpenVINO compiles and keeps kernels for every shape that it meets, so sequences come in few lengths: those
// of a prompt of its own are rounded up by a few percent, and those that prompts share, which these fill, by
// more.
uint32_t RoundUp(uint32_t tokens, uint32_t step) {
  return (tokens + step - 1) / step * step;
}
uint32_t OwnLength(uint32_t tokens) {
  return RoundUp(tokens, tokens <= 32 ? 2 : tokens <= 64 ? 4 : 8);
}
uint32_t SharedLength(uint32_t tokens) {
  return tokens <= 64 ? OwnLength(tokens) : RoundUp(tokens, 16);
}

// Of so many tokens, padding included.
uint64_t CostOf(uint64_t tokens, uint32_t length, uint32_t token_cost) {
  return tokens * (uint64_t{token_cost} + length);
}

// Moves prompts into sequences of one length, one sequence after the other.
class SequenceFiller {
 public:
  // `prompts`: indices into `lengths`.
  SequenceFiller(std::span<const uint32_t> lengths, std::span<const uint32_t> prompts, uint32_t length)
      : lengths_(lengths), length_(length), left_(prompts.begin(), prompts.end()) {}

  // The next sequence: the first prompt that is left and fits, and those others that fill it best; of such
  // sets the one that is complete first. No more than `most`; empty where none fits.
  std::vector<uint32_t> Next(size_t most);

 private:
  static constexpr size_t kNobody = std::numeric_limits<size_t>::max();

  uint32_t Fill(uint32_t room);
  uint32_t TakeOut(size_t at);

  const std::span<const uint32_t> lengths_;
  const uint32_t length_;
  std::vector<uint32_t> left_;      // prompts, in order
  std::vector<size_t> brought_by_;  // by a sum of lengths: the place in `left_` that first brought it about
};

std::vector<uint32_t> SequenceFiller::Next(size_t most) {
  std::vector<uint32_t> sequence;
  const auto first =
      std::find_if(left_.begin(), left_.end(), [this](uint32_t p) { return lengths_[p] <= length_; });
  if (first == left_.end() || most == 0) return sequence;
  sequence.push_back(TakeOut(static_cast<size_t>(first - left_.begin())));
  // From the back of `left_` to its front.
  for (uint32_t sum = Fill(length_ - lengths_[sequence.front()]); sum > 0 && sequence.size() < most;) {
    sequence.push_back(TakeOut(brought_by_[sum]));
    sum -= lengths_[sequence.back()];
  }
  return sequence;
}

// The largest sum of lengths of those that are left which does not exceed `room`.
uint32_t SequenceFiller::Fill(uint32_t room) {
  brought_by_.assign(room + 1, kNobody);
  const auto reachable = [this](uint32_t sum) { return sum == 0 || brought_by_[sum] != kNobody; };
  for (size_t at = 0; at < left_.size() && !reachable(room); ++at) {
    const uint32_t length = lengths_[left_[at]];
    for (uint32_t sum = room; sum >= length; --sum) {
      if (!reachable(sum) && reachable(sum - length)) brought_by_[sum] = at;
    }
  }
  while (!reachable(room)) --room;
  return room;
}

uint32_t SequenceFiller::TakeOut(size_t at) {
  const uint32_t prompt = left_[at];
  left_.erase(left_.begin() + static_cast<ptrdiff_t>(at));
  return prompt;
}

uint64_t TokensOf(std::span<const uint32_t> lengths, std::span<const uint32_t> prompts) {
  return std::accumulate(prompts.begin(), prompts.end(), uint64_t{0},
                         [&](uint64_t sum, uint32_t prompt) { return sum + lengths[prompt]; });
}

// All of them, those that come first before the others.
Packing PackInOrder(std::span<const uint32_t> lengths, uint32_t length) {
  std::vector<uint32_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0U);
  Packing packing{0, length, std::vector<Packing::Place>(lengths.size())};
  SequenceFiller filler(lengths, order, length);
  for (auto sequence = filler.Next(order.size()); !sequence.empty(); sequence = filler.Next(order.size())) {
    uint32_t position = 0;
    for (const uint32_t prompt : sequence) {
      packing.places[prompt] = {packing.sequences, position};
      position += lengths[prompt];
    }
    ++packing.sequences;
  }
  return packing;
}

// The first, which is picked in any case, and those that may run with it, longest first.
std::vector<uint32_t> CandidatesOf(std::span<const uint32_t> lengths, size_t prompts) {
  const uint32_t longest = std::max(lengths.front() + 16, 2 * lengths.front());
  std::vector<uint32_t> candidates = {0};
  for (uint32_t prompt = 1; prompt < lengths.size() && candidates.size() <= kBatchesToChooseFrom * prompts;
       ++prompt) {
    if (lengths[prompt] <= longest) candidates.push_back(prompt);
  }
  std::stable_sort(candidates.begin() + 1, candidates.end(),
                   [&](uint32_t a, uint32_t b) { return lengths[a] > lengths[b]; });
  return candidates;
}

}  // namespace

std::vector<uint32_t> PickToPack(std::span<const uint32_t> lengths, const BatchLimits& limits) {
  assert(!lengths.empty() && *std::min_element(lengths.begin(), lengths.end()) > 0);
  const size_t most_prompts = std::max(1U, limits.prompts);
  const std::vector<uint32_t> candidates = CandidatesOf(lengths, most_prompts);
  const auto longest_few = std::span(candidates).first(std::min(most_prompts, candidates.size()));
  const uint64_t most_tokens =
      std::min<uint64_t>(std::max(limits.tokens, lengths.front()), TokensOf(lengths, longest_few));
  // What is left takes another pass.
  const double pass_cost = static_cast<double>(kPassTokens * limits.token_cost);
  const double least_passes = most_tokens < TokensOf(lengths, candidates) ? 2 : 1;
  const double least_share = least_passes * pass_cost / static_cast<double>(most_tokens);  // of a token

  std::vector<uint32_t> best;
  double least_cost = std::numeric_limits<double>::max();  // of a token of a prompt
  for (uint32_t length = SharedLength(lengths.front()); best.empty() || length <= limits.tokens;
       length = SharedLength(length + 1)) {
    if (limits.token_cost + length + least_share >= least_cost) break;  // dearer even without any padding
    SequenceFiller filler(lengths, candidates, length);
    std::vector<uint32_t> picked;
    uint64_t tokens = 0;
    for (uint64_t sequences = 1; sequences == 1 || sequences * length <= limits.tokens; ++sequences) {
      const auto sequence = filler.Next(most_prompts - picked.size());
      if (sequence.empty()) break;
      picked.insert(picked.end(), sequence.begin(), sequence.end());
      tokens += TokensOf(lengths, sequence);
      const double cost = ((picked.size() == candidates.size() ? 1 : 2) * pass_cost +
                           static_cast<double>(CostOf(sequences * length, length, limits.token_cost))) /
                          static_cast<double>(tokens);
      if (cost >= least_cost) continue;
      least_cost = cost;
      best = picked;
    }
  }
  return best;
}

Packing PackPrompts(std::span<const uint32_t> lengths, uint32_t token_cost) {
  assert(!lengths.empty() && *std::min_element(lengths.begin(), lengths.end()) > 0);
  Packing cheapest = PadPrompts(lengths, std::numeric_limits<uint32_t>::max());
  if (lengths.size() == 1) return cheapest;
  uint64_t least_cost = CostOf(cheapest.size(), cheapest.length, token_cost);
  const auto consider = [&](uint32_t length) {
    Packing packing = PackInOrder(lengths, length);
    const uint64_t cost = CostOf(packing.size(), length, token_cost);
    if (cost >= least_cost) return;
    least_cost = cost;
    cheapest = std::move(packing);
  };
  const uint64_t tokens = std::accumulate(lengths.begin(), lengths.end(), uint64_t{0});
  if (tokens <= kQueryTokens) consider(static_cast<uint32_t>(tokens));
  uint32_t length = SharedLength(*std::max_element(lengths.begin(), lengths.end()));
  // Dearer even without any padding: so are all that are longer.
  for (; CostOf(tokens, length, token_cost) < least_cost; length = SharedLength(length + 1)) consider(length);
  return cheapest;
}

Packing PadPrompts(std::span<const uint32_t> lengths, uint32_t max_tokens) {
  const uint32_t longest = *std::max_element(lengths.begin(), lengths.end());
  const bool query = lengths.size() == 1 && longest <= kQueryTokens;
  Packing packing;
  packing.sequences = static_cast<uint32_t>(lengths.size());
  packing.length = query ? longest : std::max(longest, std::min(OwnLength(longest), max_tokens));
  for (uint32_t prompt = 0; prompt < packing.sequences; ++prompt) packing.places.push_back({prompt, 0});
  return packing;
}

}  // namespace zerohop
