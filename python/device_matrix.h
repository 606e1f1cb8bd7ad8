#pragma once

// A float32 matrix (rows, dim) in device memory, as others are shown it: by DLPack
// and by the CUDA array interface. Of engines' rows and of consumers'.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>

#include "shm/cuda/cuda_api.h"

namespace zerohop {

struct DeviceMatrix {
  cuda::CUdeviceptr address = 0;
  size_t rows = 0;
  size_t dim = 0;
  int ordinal = 0;  // of the device, in this process

  // `hold` lives as long as what was made of it.
  nanobind::object Dlpack(const nanobind::capsule& hold) const {
    using Array = nanobind::ndarray<float, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cuda>;
    const Array array(reinterpret_cast<float*>(address), {rows, dim}, hold, {}, nanobind::dtype<float>(),
                      nanobind::device::cuda::value, ordinal);
    return nanobind::cast(array);  // without a framework: the capsule itself
  }
  nanobind::dict ArrayInterface() const {
    nanobind::dict interface;
    interface["shape"] = nanobind::make_tuple(rows, dim);
    interface["typestr"] = "<f4";
    interface["data"] = nanobind::make_tuple(address, false);
    interface["strides"] = nanobind::none();
    interface["stream"] = nanobind::none();
    interface["version"] = 3;
    return interface;
  }
};

}  // namespace zerohop
