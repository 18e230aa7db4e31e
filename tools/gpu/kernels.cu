// Kernels that PyTorch has no single one for: reads, writes and copies with a chosen number of bytes in flight, and
// the fused passes of serving engines (quantisation of activations, norms, gated activations).
//
// Compiled at run time by NVRTC for the device at hand (cuda_kernels.py), so there are no headers here. bf16 values
// come eight at a time in a uint4. UNROLL is the number of independent 16-byte loads of a thread.
#ifndef UNROLL
#define UNROLL 4
#endif

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;

__device__ __forceinline__ uint4 load_streaming(const uint4* at) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(at));
  return value;
}

// --- bandwidth. `count` is a whole number of turns of the grid: gridDim.x * blockDim.x * UNROLL.

extern "C" __global__ void read_bytes(const uint4* data, u64 count, u32* sink) {
  const u64 stride = (u64)gridDim.x * blockDim.x;
  u32 sum = 0;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += UNROLL * stride) {
    uint4 value[UNROLL];
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) value[j] = load_streaming(data + i + j * stride);
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) sum |= value[j].x | value[j].y | value[j].z | value[j].w;
  }
  // The buffer is all zeros, which the compiler cannot know: the loads stay and nothing is written.
  if (sum != 0) sink[0] = sum;
}

extern "C" __global__ void write_bytes(uint4* data, u64 count, u32 value) {
  const u64 stride = (u64)gridDim.x * blockDim.x;
  const uint4 four = make_uint4(value, value, value, value);
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += UNROLL * stride) {
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) data[i + j * stride] = four;
  }
}

extern "C" __global__ void copy_bytes(const uint4* from, uint4* to, u64 count) {
  const u64 stride = (u64)gridDim.x * blockDim.x;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += UNROLL * stride) {
    uint4 value[UNROLL];
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) value[j] = load_streaming(from + i + j * stride);
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) to[i + j * stride] = value[j];
  }
}

extern "C" __global__ void nothing() {}

// --- bf16 and fp8

__device__ __forceinline__ float low_half(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_half(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ void unpack(uint4 eight, float* out) {
  const u32 pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    out[2 * j] = low_half(pairs[j]);
    out[2 * j + 1] = high_half(pairs[j]);
  }
}

__device__ __forceinline__ uint4 pack(const float* in) {
  return make_uint4(pack_bf16(in[0], in[1]), pack_bf16(in[2], in[3]), pack_bf16(in[4], in[5]),
                    pack_bf16(in[6], in[7]));
}

// The largest magnitude of a pair, as bf16 bits: those of positive numbers are in the order of the numbers.
__device__ __forceinline__ u32 pair_magnitude(u32 pair) {
  return max(pair & 0x7fffu, (pair >> 16) & 0x7fffu);
}

__device__ __forceinline__ u32 magnitude(uint4 eight) {
  return max(max(pair_magnitude(eight.x), pair_magnitude(eight.y)),
             max(pair_magnitude(eight.z), pair_magnitude(eight.w)));
}

// Over all threads of the block; blockDim.x is a multiple of 32. Every thread gets the result.
__device__ __forceinline__ u32 block_max(u32 value) {
  __shared__ u32 of_warp[32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value = max(value, __shfl_xor_sync(0xffffffffu, value, step));
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0;
  for (u32 warp = 0; warp < blockDim.x / 32; ++warp) value = max(value, of_warp[warp]);
  return value;
}

__device__ __forceinline__ float block_sum(float value) {
  __shared__ float of_warp[32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0;
  for (u32 warp = 0; warp < blockDim.x / 32; ++warp) value += of_warp[warp];
  return value;
}

extern "C" __global__ void amax_bf16(const uint4* x, u64 count, u32* amax_bits) {
  const u64 stride = (u64)gridDim.x * blockDim.x;
  u32 largest = 0;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
    largest = max(largest, magnitude(x[i]));
  }
  largest = block_max(largest);
  if (threadIdx.x == 0) atomicMax(amax_bits, largest);
}

__device__ __forceinline__ float scale_of(u32 amax_bits) {
  const float amax = __uint_as_float(amax_bits << 16);
  return amax > 1e-12f ? amax / 448.0f : 1e-12f;
}

#if __CUDA_ARCH__ >= 890 || defined(CHECK_SYNTAX)
__device__ __forceinline__ u32 pack_e4m3(float a, float b, float c, float d) {
  u16 low, high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  return (u32)low | ((u32)high << 16);
}

__device__ __forceinline__ uint2 quantised(uint4 eight, float inverse) {
  float value[8];
  unpack(eight, value);
#pragma unroll
  for (int j = 0; j < 8; ++j) value[j] *= inverse;
  return make_uint2(pack_e4m3(value[0], value[1], value[2], value[3]),
                    pack_e4m3(value[4], value[5], value[6], value[7]));
}

// One scale for the whole tensor, known beforehand.
extern "C" __global__ void quantise_static(const uint4* x, uint2* y, u64 count, const float* scale) {
  const u64 stride = (u64)gridDim.x * blockDim.x;
  const float inverse = 1.0f / scale[0];
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) y[i] = quantised(x[i], inverse);
}

// One scale for the whole tensor, from the result of amax_bf16; the scale is written for the product.
extern "C" __global__ void quantise_tensor(const uint4* x, uint2* y, u64 count, const u32* amax_bits, float* scale) {
  const u64 stride = (u64)gridDim.x * blockDim.x;
  const float whole = scale_of(amax_bits[0]);
  if (blockIdx.x == 0 && threadIdx.x == 0) scale[0] = whole;
  const float inverse = 1.0f / whole;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) y[i] = quantised(x[i], inverse);
}

// One scale per row (token): a block per row, which is read twice, the second time from cache.
extern "C" __global__ void quantise_rows(const uint4* x, uint2* y, u32 groups, float* scale) {
  const uint4* row = x + (u64)blockIdx.x * groups;
  uint2* out = y + (u64)blockIdx.x * groups;
  u32 largest = 0;
  for (u32 i = threadIdx.x; i < groups; i += blockDim.x) largest = max(largest, magnitude(row[i]));
  const float whole = scale_of(block_max(largest));
  if (threadIdx.x == 0) scale[blockIdx.x] = whole;
  const float inverse = 1.0f / whole;
  for (u32 i = threadIdx.x; i < groups; i += blockDim.x) out[i] = quantised(row[i], inverse);
}
#endif

// --- norms and activations. A block per row of `groups` times eight values.

__device__ __forceinline__ float sum_of_squares(const float* value) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) sum += value[j] * value[j];
  return sum;
}

extern "C" __global__ void rms_norm(const uint4* x, const uint4* weight, uint4* y, u32 groups) {
  const uint4* row = x + (u64)blockIdx.x * groups;
  uint4* out = y + (u64)blockIdx.x * groups;
  float value[8], gain[8];
  float sum = 0;
  for (u32 i = threadIdx.x; i < groups; i += blockDim.x) {
    unpack(row[i], value);
    sum += sum_of_squares(value);
  }
  const float factor = rsqrtf(block_sum(sum) / (8.0f * groups) + 1e-6f);
  for (u32 i = threadIdx.x; i < groups; i += blockDim.x) {
    unpack(row[i], value);
    unpack(weight[i], gain);
#pragma unroll
    for (int j = 0; j < 8; ++j) value[j] *= factor * gain[j];
    out[i] = pack(value);
  }
}

// The norm of serving engines: residual += x, then y = norm(residual).
extern "C" __global__ void add_rms_norm(const uint4* x, uint4* residual, const uint4* weight, uint4* y, u32 groups) {
  const u64 begin = (u64)blockIdx.x * groups;
  float value[8], other[8];
  float sum = 0;
  for (u32 i = threadIdx.x; i < groups; i += blockDim.x) {
    unpack(x[begin + i], value);
    unpack(residual[begin + i], other);
#pragma unroll
    for (int j = 0; j < 8; ++j) value[j] += other[j];
    sum += sum_of_squares(value);
    residual[begin + i] = pack(value);
  }
  // Each thread reads back only what it wrote itself.
  const float factor = rsqrtf(block_sum(sum) / (8.0f * groups) + 1e-6f);
  for (u32 i = threadIdx.x; i < groups; i += blockDim.x) {
    unpack(residual[begin + i], value);
    unpack(weight[i], other);
#pragma unroll
    for (int j = 0; j < 8; ++j) value[j] *= factor * other[j];
    y[begin + i] = pack(value);
  }
}

// y[row] = silu(x[row][first half]) * x[row][second half]; `groups` is that of the result.
extern "C" __global__ void silu_mul(const uint4* x, uint4* y, u32 groups) {
  const uint4* gate = x + (u64)blockIdx.x * 2 * groups;
  const uint4* up = gate + groups;
  uint4* out = y + (u64)blockIdx.x * groups;
  float value[8], other[8];
  for (u32 i = threadIdx.x; i < groups; i += blockDim.x) {
    unpack(gate[i], value);
    unpack(up[i], other);
#pragma unroll
    for (int j = 0; j < 8; ++j) value[j] = value[j] / (1.0f + __expf(-value[j])) * other[j];
    out[i] = pack(value);
  }
}
