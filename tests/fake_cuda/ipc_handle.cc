#include "tests/fake_cuda/ipc_handle.h"

#include <cstddef>
#include <cstring>

namespace zerohop::fake_cuda {
namespace {

constexpr uint32_t kMagic = 0x4350'4946;

uint32_t Crc(const HandleImage& image) {
  unsigned char bytes[offsetof(HandleImage, crc)];
  std::memcpy(bytes, &image, sizeof(bytes));
  uint32_t crc = ~0U;
  for (const unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB8'8320 : 0);
  }
  return ~crc;
}

}  // namespace

uint64_t DeviceHash(const cuda::CUuuid& uuid) {
  uint64_t hash = 0xcbf2'9ce4'8422'2325;  // FNV-1a
  for (const char byte : uuid.bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100'0000'01b3;
  return hash;
}

void Seal(HandleImage image, void* bytes) {
  image.magic = kMagic;
  image.crc = Crc(image);
  std::memcpy(bytes, &image, sizeof(image));
}

std::optional<HandleImage> Unseal(const void* bytes, HandleKind kind) {
  HandleImage image{};
  std::memcpy(&image, bytes, sizeof(image));
  if (image.magic != kMagic || image.kind != kind || image.crc != Crc(image)) return std::nullopt;
  return image;
}

}  // namespace zerohop::fake_cuda
