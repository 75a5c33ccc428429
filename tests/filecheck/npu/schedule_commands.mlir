// RUN: tilewright-opt %s -p schedule-commands --target tpu-v1 | filecheck %s

// The products do not depend on the commands of the vector unit before them, which fill its queue of
// sixteen: they are issued first, with their buffer.  The last command comes after both.
// CHECK-LABEL: npu.program @segment_0
// CHECK: npu.vclip
// CHECK: %acc = npu.alloc
// CHECK-NEXT: npu.loop 40
// CHECK-NEXT: npu.matmul
// CHECK: npu.loop 19
// CHECK-NEXT: npu.vclip
// CHECK: npu.vrequant
npu.program @segment_0 {
  %a = npu.alloc : memref<65536xi8, "spm">
  %b = npu.alloc : memref<65536xi8, "spm">
  %w = npu.alloc : memref<65536xi8, "spm">
  %k = npu.alloc : memref<4xi8, "spm">
  %c0 = npu.vclip(%b : memref<65536xi8, "spm"> at #npu.access<0 [] sizes [65536] strides [1]>, %b : memref<65536xi8, "spm"> at #npu.access<0 [] sizes [65536] strides [1]>) {lo = 0 : i64, hi = 99 : i64}
  npu.loop 19 {
    %c = npu.vclip(%b : memref<65536xi8, "spm"> at #npu.access<0 [0] sizes [65536] strides [1]>, %b : memref<65536xi8, "spm"> at #npu.access<0 [0] sizes [65536] strides [1]>) {lo = 0 : i64, hi = 9 : i64}
    npu.yield
  }
  %acc = npu.alloc : memref<262144xi8, "acc">
  npu.loop 40 {
    %m = npu.matmul(%a : memref<65536xi8, "spm"> at #npu.access<0 [0] sizes [256, 256] strides [256, 1]>, %w : memref<65536xi8, "spm"> at #npu.access<0 [] sizes [256, 256] strides [256, 1]>, %acc : memref<262144xi8, "acc"> at #npu.access<0 [] sizes [256, 256] strides [1024, 4]>) {m_rank = 1 : i64}
    npu.yield
  }
  %r = npu.vrequant(%acc : memref<262144xi8, "acc"> at #npu.access<0 [] sizes [65536] strides [4]>, %k : memref<4xi8, "spm"> at #npu.access<0 [] sizes [65536] strides [0]>, %k : memref<4xi8, "spm"> at #npu.access<0 [] sizes [65536] strides [0]>, %k : memref<4xi8, "spm"> at #npu.access<0 [] sizes [65536] strides [0]>, %b : memref<65536xi8, "spm"> at #npu.access<0 [] sizes [65536] strides [1]>) {lo = -128 : i64, hi = 127 : i64}
}
