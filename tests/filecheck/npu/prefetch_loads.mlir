// RUN: tilewright-opt %s -p prefetch-loads --target tpu-v1 | filecheck %s

// The load of weights moves up in front of the store, with its buffer; what the program stores is
// loaded after it.
// CHECK-LABEL: npu.program @segment_0
// CHECK: npu.load(%x
// CHECK: npu.vclip
// CHECK: %b = npu.alloc
// CHECK-NEXT: npu.load(%w
// CHECK-NEXT: npu.store(%y
// CHECK: npu.load(%y
npu.program @segment_0 {
  %x = npu.dram 0 : memref<256xi8, "dram">
  %y = npu.dram 256 : memref<256xi8, "dram">
  %w = npu.dram 0 : memref<256xi8, "const">
  %a = npu.alloc : memref<256xi8, "spm">
  %l = npu.load(%x : memref<256xi8, "dram"> at #npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [256] loops [[]]>, %a : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>) {element = 1 : i64}
  %c = npu.vclip(%a : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>, %a : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>) {lo = 0 : i64, hi = 9 : i64}
  %s = npu.store(%y : memref<256xi8, "dram"> at #npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [256] loops [[]]>, %a : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>) {element = 1 : i64}
  %b = npu.alloc : memref<256xi8, "spm">
  %m = npu.load(%w : memref<256xi8, "const"> at #npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [256] loops [[]]>, %b : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>) {element = 1 : i64}
  %d = npu.alloc : memref<256xi8, "spm">
  %n = npu.load(%y : memref<256xi8, "dram"> at #npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [256] loops [[]]>, %d : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>) {element = 1 : i64}
  %e = npu.vclip(%d : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>, %b : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>) {lo = 0 : i64, hi = 9 : i64}
}
