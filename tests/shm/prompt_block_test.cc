#include "shm/prompt_block.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace zerohop {
namespace {

std::vector<std::byte> Written(const std::vector<std::string>& prompts) {
  size_t bytes = PromptTableBytes(static_cast<uint32_t>(prompts.size()));
  for (const auto& prompt : prompts) bytes += prompt.size();
  std::vector<std::byte> region(bytes);
  PromptBlockWriter writer(region.data(), static_cast<uint32_t>(prompts.size()));
  for (const auto& prompt : prompts) {
    std::memcpy(writer.Append(static_cast<uint32_t>(prompt.size())), prompt.data(), prompt.size());
  }
  return region;
}

TEST(PromptBlock, PromptsComeBackInOrder) {
  const std::vector<std::string> prompts = {"first", "", "a longer third one", std::string(3, '\0'), ""};
  const auto region = Written(prompts);
  PromptBlockReader reader(region, 5);
  std::span<const std::byte> bytes;
  for (const auto& prompt : prompts) {
    ASSERT_TRUE(reader.Next(&bytes));
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), prompt);
  }
  EXPECT_FALSE(reader.Next(&bytes)) << "all were read";
}

TEST(PromptBlock, BlockOfEmptyPromptsIsItsTable) {
  const auto region = Written({"", ""});
  EXPECT_EQ(region.size(), 8u);
  PromptBlockReader reader(region, 2);
  std::span<const std::byte> bytes;
  EXPECT_TRUE(reader.Next(&bytes));
  EXPECT_TRUE(reader.Next(&bytes));
  EXPECT_TRUE(bytes.empty());
}

TEST(PromptBlock, ReaderNeverLeavesTheRegionWhateverTheLengths) {
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    // A vector of its own, so that AddressSanitizer sees one byte too far.
    std::vector<std::byte> region(random() % 64);
    for (std::byte& b : region) b = static_cast<std::byte>(random() % 3 == 0 ? random() : random() % 8 == 0);
    const uint32_t rows = random() % 4 == 0 ? static_cast<uint32_t>(random()) : random() % 20;
    PromptBlockReader reader(region, rows);
    std::span<const std::byte> bytes;
    size_t read = 0;
    while (reader.Next(&bytes)) {
      ASSERT_GE(bytes.data(), region.data() + PromptTableBytes(rows));
      ASSERT_LE(bytes.data() + bytes.size(), region.data() + region.size());
      ASSERT_LE(++read, rows);
    }
  }
}

TEST(PromptBlock, TableThatDoesNotFitHoldsNoPrompt) {
  const std::vector<std::byte> region(7);
  for (uint32_t rows : {2u, 1000u, ~0u}) {
    PromptBlockReader reader(region, rows);
    std::span<const std::byte> bytes;
    EXPECT_FALSE(reader.Next(&bytes)) << rows;
  }
  PromptBlockReader none(std::span<const std::byte>{}, 1);
  std::span<const std::byte> bytes;
  EXPECT_FALSE(none.Next(&bytes));
}

}  // namespace
}  // namespace zerohop
