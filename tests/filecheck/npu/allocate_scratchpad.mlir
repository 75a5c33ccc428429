// RUN: tilewright-opt %s -p allocate-scratchpad --target gemmini-16x16 | filecheck %s

// Each layer's buffers lie beside those of the layer before; the third reuses the first one's place.
// CHECK-LABEL: npu.program @segment_0
// CHECK: npu.alloc {slots = 2 : i64, slot_stride = [[S:[0-9]+]] : i64, address = 0 : i64} : memref<100000xi8, "spm">
// CHECK: npu.alloc {slot_stride = [[T:[0-9]+]] : i64, address = {{[1-9][0-9]*}} : i64} : memref<60000xi8, "spm">
// CHECK: npu.alloc {slots = 2 : i64, slot_stride = [[S]] : i64, address = 0 : i64} : memref<100000xi8, "spm">
npu.program @segment_0 {
  npu.loop 2 {
    %a = npu.alloc {slots = 2 : i64} : memref<100000xi8, "spm">
    %f = npu.vfill(%a : memref<100000xi8, "spm"> at #npu.access<0 [] sizes [100000] strides [1]>) loc("conv0")
    npu.yield
  }
  npu.loop 2 {
    %b = npu.alloc : memref<60000xi8, "spm">
    %g = npu.vfill(%b : memref<60000xi8, "spm"> at #npu.access<0 [] sizes [60000] strides [1]>) loc("conv1")
    npu.yield
  }
  npu.loop 2 {
    %c = npu.alloc {slots = 2 : i64} : memref<100000xi8, "spm">
    %h = npu.vfill(%c : memref<100000xi8, "spm"> at #npu.access<0 [] sizes [100000] strides [1]>) loc("conv2")
    npu.yield
  }
}
