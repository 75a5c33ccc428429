// RUN: tilewright-opt %s -p preload-weights --target tpu-v1 | filecheck %s
// RUN: tilewright-opt %s -p preload-weights --target ethos-u65-512 | filecheck %s --check-prefix=OFF

// In front of the loop stands a preload of what its first iteration multiplies by; a matmul of more
// than one tile gets none.
// CHECK-LABEL: npu.program @segment_0
// CHECK: npu.preload(%w : memref<16384xi8, "spm"> at #npu.access<64 [] sizes [64, 64] strides [64, 1]>)
// CHECK-NEXT: npu.loop 2
// CHECK-NEXT: npu.matmul
// CHECK: npu.matmul
// CHECK-NOT: npu.preload

// OFF-NOT: npu.preload
npu.program @segment_0 {
  %x = npu.alloc : memref<65536xi8, "spm">
  %w = npu.alloc : memref<16384xi8, "spm">
  %v = npu.alloc : memref<262144xi8, "spm">
  %s = npu.alloc : memref<65536xi8, "acc">
  npu.loop 2 {
    %a = npu.matmul(%x : memref<65536xi8, "spm"> at #npu.access<0 [64] sizes [16, 64] strides [512, 1]>, %w : memref<16384xi8, "spm"> at #npu.access<64 [4096] sizes [64, 64] strides [64, 1]>, %s : memref<65536xi8, "acc"> at #npu.access<0 [0] sizes [16, 64] strides [256, 4]>) {m_rank = 1 : i64, overwrite = 1 : i64}
    npu.yield
  }
  %b = npu.matmul(%x : memref<65536xi8, "spm"> at #npu.access<0 [] sizes [16, 512] strides [512, 1]>, %v : memref<262144xi8, "spm"> at #npu.access<0 [] sizes [512, 512] strides [512, 1]>, %s : memref<65536xi8, "acc"> at #npu.access<0 [] sizes [16, 512] strides [2048, 4]>) {m_rank = 1 : i64}
}
