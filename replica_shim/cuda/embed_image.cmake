# cmake -DIMAGE=FILE -DSOURCE=FILE.cc -P embed_image.cmake: the image as pool_image.h gives it.
file(READ ${IMAGE} bytes HEX)
string(REGEX REPLACE "(................................................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${SOURCE} "// Made by embed_image.cmake.

#include \"replica_shim/cuda/pool_image.h\"

namespace zerohop {
namespace {

// Aligned as a driver may expect of a header of words.
alignas(64) constexpr unsigned char kImage[] = {
${bytes}};

}  // namespace

std::span<const std::byte> PoolImage() {
  return std::as_bytes(std::span(kImage));
}

}  // namespace zerohop
")
