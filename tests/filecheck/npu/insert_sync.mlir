// RUN: tilewright-opt %s -p allocate-scratchpad,insert-sync --target gemmini-16x16 | filecheck %s

// A double-buffered pipeline: data forward within an iteration, free buffers back to the next but one.
// The second layer loads what the first stored, and only that is waited for.
// CHECK-LABEL: npu.program @segment_0
// CHECK-DAG:   [[CA:%credits.*]] = npu.token 2
// CHECK-DAG:   [[CB:%credits.*]] = npu.token 3
// CHECK:       npu.loop 4 iter([[FA:%free.*]] = [[CA]], [[FB:%free.*]] = [[CB]]) {
// CHECK:         %l = npu.load({{.*}}) wait([[FA]])
// CHECK:         %c = npu.vclip({{.*}}) wait(%l, [[FB]])
// CHECK:         %s = npu.store({{.*}}) wait(%c)
// CHECK:         npu.yield %c, %s
// CHECK:       }
// CHECK-NEXT:  [[DONE:%.*]] = npu.sync "store"
// CHECK:       %m = npu.load({{.*}}) wait([[DONE]])
npu.program @segment_0 {
  %x = npu.dram 0 : memref<256xi8, "dram">
  %y = npu.dram 256 : memref<256xi8, "dram">
  npu.loop 4 {
    %a = npu.alloc {slots = 2 : i64} : memref<64xi8, "spm">
    %b = npu.alloc {slots = 3 : i64} : memref<64xi8, "spm">
    %l = npu.load(%x : memref<256xi8, "dram"> at #npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [64] loops [[64]]>, %a : memref<64xi8, "spm"> at #npu.access<0 [] sizes [64] strides [1]>) {element = 1 : i64}
    %c = npu.vclip(%a : memref<64xi8, "spm"> at #npu.access<0 [] sizes [64] strides [1]>, %b : memref<64xi8, "spm"> at #npu.access<0 [] sizes [64] strides [1]>) {lo = 0 : i64, hi = 9 : i64}
    %s = npu.store(%y : memref<256xi8, "dram"> at #npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [64] loops [[64]]>, %b : memref<64xi8, "spm"> at #npu.access<0 [] sizes [64] strides [1]>) {element = 1 : i64}
    npu.yield
  }
  %d = npu.alloc : memref<256xi8, "spm">
  %m = npu.load(%y : memref<256xi8, "dram"> at #npu.tensor_map<extents [256] strides [1] start [0] steps [1] box [256] loops [[]]>, %d : memref<256xi8, "spm"> at #npu.access<0 [] sizes [256] strides [1]>) {element = 1 : i64}
}
