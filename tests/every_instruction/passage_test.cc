#include "tests/every_instruction/passage.h"

#include <gtest/gtest.h>

namespace zerohop {
namespace {

Passage PassageOver(std::initializer_list<uint64_t> addresses) {
  Passage passage;
  for (uint64_t address : addresses) passage.Append(address, {"program", address});
  return passage;
}

TEST(Passage, RunGoesAllTheWayWhereTheAddressIsMetThereFirst) {
  const Passage passage = PassageOver({10, 11, 12, 11, 12, 13});
  EXPECT_EQ(passage.length(), 5u);
  EXPECT_EQ(passage.FarthestStop(0, 5), 5u);
  EXPECT_EQ(passage.FarthestStop(0, 2), 2u);
  EXPECT_EQ(passage.FarthestStop(0, 99), 5u) << "not beyond the end";
}

TEST(Passage, RunIntoALoopStopsInItsFirstRound) {
  const Passage passage = PassageOver({10, 11, 12, 11, 12, 11, 12, 13});
  EXPECT_EQ(passage.FarthestStop(0, 6), 2u);
  EXPECT_EQ(passage.FarthestStop(2, 6), 3u) << "12 would be met where we stand";
  EXPECT_EQ(passage.FarthestStop(3, 6), 4u);
}

TEST(Passage, NoRunLeadsToTheInstructionWhereOneStands) {
  const Passage passage = PassageOver({10, 10, 10});
  EXPECT_EQ(passage.FarthestStop(0, 2), 0u);
  EXPECT_EQ(passage.FarthestStop(1, 2), 1u);
}

}  // namespace
}  // namespace zerohop
