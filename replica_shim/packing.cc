#include "replica_shim/packing.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace zerohop {
namespace {

// What a pass costs by itself, in tokens: 2 to 3 ms beside 0.12 ms a token (docs/engine_openvino.md).
constexpr uint64_t kPassTokens = 20;
// Batches of prompts, the oldest of those that wait, that are looked through for one: more gain nothing.
constexpr size_t kChoice = 2;

// OpenVINO compiles and keeps kernels for every shape that it meets, so sequences come in few lengths: those
// of a prompt of its own are rounded up by a few percent, and those that prompts share, which these fill, by
// more.
uint32_t RoundUp(uint32_t tokens, uint32_t step) {
  return (tokens + step - 1) / step * step;
}
uint32_t OwnLength(uint32_t tokens) {
  return RoundUp(tokens, tokens <= 16 ? 2 : tokens <= 32 ? 4 : 8);
}
uint32_t SharedLength(uint32_t tokens) {
  return RoundUp(tokens, tokens <= 32 ? 2 : tokens <= 64 ? 4 : 16);
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

std::vector<uint32_t> LongestFirst(std::span<const uint32_t> lengths, std::vector<uint32_t> prompts) {
  std::stable_sort(prompts.begin(), prompts.end(),
                   [&](uint32_t a, uint32_t b) { return lengths[a] > lengths[b]; });
  return prompts;
}

uint64_t TokensOf(std::span<const uint32_t> lengths, std::span<const uint32_t> prompts) {
  return std::accumulate(prompts.begin(), prompts.end(), uint64_t{0},
                         [&](uint64_t sum, uint32_t prompt) { return sum + lengths[prompt]; });
}

// All of `order`.
Packing PackInOrder(std::span<const uint32_t> lengths, std::span<const uint32_t> order, uint32_t length) {
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
  std::vector<uint32_t> others;
  for (uint32_t prompt = 1; prompt < lengths.size() && others.size() < kChoice * prompts; ++prompt) {
    if (lengths[prompt] <= longest) others.push_back(prompt);
  }
  std::vector<uint32_t> candidates = LongestFirst(lengths, std::move(others));
  candidates.insert(candidates.begin(), 0);
  return candidates;
}

}  // namespace

std::vector<uint32_t> PickToPack(std::span<const uint32_t> lengths, const BatchLimits& limits) {
  const size_t most_prompts = std::max(1U, limits.prompts);
  const std::vector<uint32_t> candidates = CandidatesOf(lengths, most_prompts);
  const auto longest_few = std::span(candidates).first(std::min(most_prompts, candidates.size()));
  const uint64_t most_tokens =
      std::min<uint64_t>(std::max(limits.tokens, lengths.front()), TokensOf(lengths, longest_few));
  // Who is left takes a pass of his own.
  const double pass_cost = static_cast<double>(kPassTokens * limits.token_cost);
  const double least_passes = most_tokens < TokensOf(lengths, candidates) ? 2 : 1;

  std::vector<uint32_t> best;
  double least_cost = std::numeric_limits<double>::max();  // of a token of a prompt
  for (uint32_t length = SharedLength(lengths.front()); best.empty() || length <= limits.tokens;
       length = SharedLength(length + 1)) {
    // Dearer even without any padding.
    if (limits.token_cost + length + least_passes * pass_cost / static_cast<double>(most_tokens) >=
        least_cost)
      break;
    SequenceFiller filler(lengths, candidates, length);
    std::vector<uint32_t> picked;
    for (uint64_t sequences = 1; sequences == 1 || sequences * length <= limits.tokens; ++sequences) {
      const auto sequence = filler.Next(most_prompts - picked.size());
      if (sequence.empty()) break;
      picked.insert(picked.end(), sequence.begin(), sequence.end());
      const double cost = ((picked.size() == candidates.size() ? 1 : 2) * pass_cost +
                           static_cast<double>(CostOf(sequences * length, length, limits.token_cost))) /
                          static_cast<double>(TokensOf(lengths, picked));
      if (cost >= least_cost) continue;
      least_cost = cost;
      best = picked;
    }
  }
  return best;
}

Packing PackPrompts(std::span<const uint32_t> lengths, uint32_t token_cost) {
  std::vector<uint32_t> as_given(lengths.size());
  std::iota(as_given.begin(), as_given.end(), 0U);
  const uint64_t tokens = TokensOf(lengths, as_given);
  Packing cheapest = PadPrompts(lengths, std::numeric_limits<uint32_t>::max());
  if (lengths.size() == 1) return cheapest;
  if (tokens <= kQueryTokens) return PackInOrder(lengths, as_given, static_cast<uint32_t>(tokens));
  uint64_t least_cost = CostOf(cheapest.size(), cheapest.length, token_cost);
  const std::vector<uint32_t> longest_first = LongestFirst(lengths, as_given);
  for (const auto& order : {as_given, longest_first}) {
    for (uint32_t length = SharedLength(lengths[longest_first.front()]);; length = SharedLength(length + 1)) {
      if (CostOf(tokens, length, token_cost) >= least_cost) break;  // dearer even without any padding
      Packing packing = PackInOrder(lengths, order, length);
      const uint64_t cost = CostOf(packing.size(), length, token_cost);
      if (cost >= least_cost) continue;
      least_cost = cost;
      cheapest = std::move(packing);
    }
  }
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
