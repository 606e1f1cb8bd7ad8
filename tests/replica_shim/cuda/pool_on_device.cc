#include "tests/replica_shim/cuda/pool_on_device.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <stdexcept>

#include "replica_shim/cuda/pool_image.h"
#include "tests/support/must.h"

namespace zerohop::pool_test {
namespace {

constexpr unsigned char kPattern = 0xA5;

// Places for rows: in any order, apart by 4 to 64 bytes, and at no larger multiple than 4.
std::vector<size_t> ScatteredPlaces(size_t rows, size_t row_bytes, size_t* end) {
  std::mt19937 random(static_cast<uint32_t>(rows + row_bytes));
  std::vector<size_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = rows; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  std::vector<size_t> places(rows);
  size_t next = 4;
  for (const size_t row : order) {
    places[row] = next;
    next += row_bytes + 4 * (1 + random() % 16);
  }
  *end = next;
  return places;
}

void MustBeOk(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

}  // namespace

std::span<const std::byte> ImageFor(bool emulated) {
  static constexpr char kStandIn[] =
      ".version 9.0\n.entry zerohop_pool_float32()\n.entry zerohop_pool_float16()\n"
      ".entry zerohop_pool_bfloat16()\n";
  if (!PoolImage().empty() || !emulated) return PoolImage();
  return std::as_bytes(std::span(kStandIn));
}

PoolOnDevice::PoolOnDevice(const std::shared_ptr<const CudaDevice>& device, cuda::CUstream stream,
                           PoolCase pool_case)
    : device_(device),
      stream_(stream),
      batch_(std::move(pool_case)),
      places_(ScatteredPlaces(batch_.prompts(), batch_.dim() * sizeof(float), &bytes_)),
      // An element more: tokens begin at an odd one.
      tokens_(Must(DeviceMemory::Allocate(device, batch_.tokens().size() + BytesOf(batch_.shape().type)))),
      memory_(Must(DeviceMemory::Allocate(device, bytes_))) {
  for (const size_t place : places_) rows_.push_back(memory_.address() + place);
  const CudaDriver& driver = device_->driver();
  MustBeOk(device_->Check(driver.cuMemsetD8Async(memory_.address(), kPattern, bytes_, stream_), "fill"));
  MustBeOk(device_->Check(
      driver.cuMemcpyHtoDAsync_v2(tokens_address(), batch_.tokens().data(), batch_.tokens().size(), stream_),
      "copy the tokens"));
  MustBeOk(device_->Check(driver.cuStreamSynchronize(stream_), "copy the tokens"));
}

cuda::CUdeviceptr PoolOnDevice::tokens_address() const {
  return tokens_.address() + BytesOf(batch_.shape().type);
}

std::vector<std::byte> PoolOnDevice::Read() const {
  std::vector<std::byte> bytes(bytes_);
  const CudaDriver& driver = device_->driver();
  MustBeOk(device_->Check(driver.cuMemcpyDtoHAsync_v2(bytes.data(), memory_.address(), bytes_, stream_),
                          "read the rows"));
  MustBeOk(device_->Check(driver.cuStreamSynchronize(stream_), "read the rows"));
  return bytes;
}

testing::AssertionResult PoolOnDevice::Check() const {
  std::vector<std::byte> bytes = Read();
  const size_t row_bytes = batch_.dim() * sizeof(float);
  std::vector<float> got(batch_.prompts() * batch_.dim());
  for (size_t i = 0; i < batch_.prompts(); ++i) {
    std::byte* row = bytes.data() + places_[i];
    std::memcpy(&got[i * batch_.dim()], row, row_bytes);
    std::fill_n(row, row_bytes, std::byte{kPattern});
  }
  const auto strange =
      std::find_if(bytes.begin(), bytes.end(), [](std::byte byte) { return byte != std::byte{kPattern}; });
  if (strange != bytes.end()) {
    return testing::AssertionFailure() << "written outside of rows, at byte " << strange - bytes.begin();
  }
  return SameRows(batch_.RowsOnCpu(), got, batch_.dim());
}

}  // namespace zerohop::pool_test
