// RUN: tilewright-opt %s -p narrow-broadcasts | filecheck %s
// RUN: tilewright-opt %s -p narrow-broadcasts{enable=false} | filecheck %s --check-prefix=OFF

// Four cores in a grid of 2 x 2; each reads rows of what it has made itself: nothing is sent.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK-NOT: loop.broadcast
// OFF-LABEL: func.func @npu_segment_0
// OFF: loop.broadcast %{{.*}} : memref

// Divided by rows and columns, read by rows: to the cores of the same row (level 1), in a loop.
// CHECK-LABEL: func.func @npu_segment_1
// CHECK: loop.for
// CHECK: loop.broadcast %{{.*}} levels 2 : memref<2x32xi8, "spm">

// Read by columns: to those of the same column (level 0).
// CHECK-LABEL: func.func @npu_segment_2
// CHECK: loop.broadcast %{{.*}} levels 1 : memref<4x32xi8, "spm">

// Read with a halo of one row: to all.
// CHECK-LABEL: func.func @npu_segment_3
// CHECK: loop.broadcast %{{.*}} : memref<2x64xi8, "spm">

// Read whole: to all.
// CHECK-LABEL: func.func @npu_segment_4
// CHECK: loop.broadcast %{{.*}} : memref<2x64xi8, "spm">
func.func @npu_segment_0() {
  loop.for %row = 0 to 2 step 1 {
    loop.for %column = 0 to 2 step 1 {
      %y = loop.alloc {offset = 0 : i64} : memref<8x64xi8, "dram">
      %t = loop.alloc : memref<8x64xi8, "spm">
      %mine = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> : memref<8x64xi8, "spm"> -> memref<2x64xi8, "spm">
      loop.fill %mine with 3 : i64 : memref<2x64xi8, "spm">
      loop.broadcast %mine : memref<2x64xi8, "spm">
      %again = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> : memref<8x64xi8, "spm"> -> memref<2x64xi8, "spm">
      loop.copy store %y[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> tile %again : memref<8x64xi8, "dram">, memref<2x64xi8, "spm">
    } attributes {cores}
  } attributes {cores}
  func.return
}

func.func @npu_segment_1() {
  loop.for %row = 0 to 2 step 1 {
    loop.for %column = 0 to 2 step 1 {
      %y = loop.alloc {offset = 0 : i64} : memref<8x64xi8, "dram">
      %t = loop.alloc : memref<8x64xi8, "spm">
      loop.for %h = 0 to 4 step 2 {
        %mine = loop.subview %t[%h, %row, %column] at affine_map<(d0, d1, d2) -> ((d0 + (d1 * 4)), (d2 * 32))> : memref<8x64xi8, "spm"> -> memref<2x32xi8, "spm">
        loop.fill %mine with 3 : i64 : memref<2x32xi8, "spm">
        loop.broadcast %mine : memref<2x32xi8, "spm">
      }
      %rows = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> : memref<8x64xi8, "spm"> -> memref<2x64xi8, "spm">
      loop.copy store %y[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> tile %rows : memref<8x64xi8, "dram">, memref<2x64xi8, "spm">
    } attributes {cores}
  } attributes {cores}
  func.return
}

func.func @npu_segment_2() {
  loop.for %row = 0 to 2 step 1 {
    loop.for %column = 0 to 2 step 1 {
      %y = loop.alloc {offset = 0 : i64} : memref<8x64xi8, "dram">
      %t = loop.alloc : memref<8x64xi8, "spm">
      %mine = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> ((d0 * 4), (d1 * 32))> : memref<8x64xi8, "spm"> -> memref<4x32xi8, "spm">
      loop.fill %mine with 3 : i64 : memref<4x32xi8, "spm">
      loop.broadcast %mine : memref<4x32xi8, "spm">
      %columns = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> (0, ((d1 * 32) + (d0 * 16)))> : memref<8x64xi8, "spm"> -> memref<8x16xi8, "spm">
      loop.copy store %y[%row, %column] at affine_map<(d0, d1) -> (0, ((d1 * 32) + (d0 * 16)))> tile %columns : memref<8x64xi8, "dram">, memref<8x16xi8, "spm">
    } attributes {cores}
  } attributes {cores}
  func.return
}

func.func @npu_segment_3() {
  loop.for %row = 0 to 2 step 1 {
    loop.for %column = 0 to 2 step 1 {
      %y = loop.alloc {offset = 0 : i64} : memref<9x64xi8, "dram">
      %t = loop.alloc : memref<9x64xi8, "spm">
      %mine = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> : memref<9x64xi8, "spm"> -> memref<2x64xi8, "spm">
      loop.fill %mine with 3 : i64 : memref<2x64xi8, "spm">
      loop.broadcast %mine : memref<2x64xi8, "spm">
      %halo = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> : memref<9x64xi8, "spm"> -> memref<3x64xi8, "spm">
      loop.copy store %y[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> tile %halo : memref<9x64xi8, "dram">, memref<3x64xi8, "spm">
    } attributes {cores}
  } attributes {cores}
  func.return
}

func.func @npu_segment_4() {
  loop.for %row = 0 to 2 step 1 {
    loop.for %column = 0 to 2 step 1 {
      %y = loop.alloc {offset = 0 : i64} : memref<8x64xi8, "dram">
      %t = loop.alloc : memref<8x64xi8, "spm">
      %mine = loop.subview %t[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)> : memref<8x64xi8, "spm"> -> memref<2x64xi8, "spm">
      loop.fill %mine with 3 : i64 : memref<2x64xi8, "spm">
      loop.broadcast %mine : memref<2x64xi8, "spm">
      loop.copy store %y[] at affine_map<() -> (0, 0)> tile %t : memref<8x64xi8, "dram">, memref<8x64xi8, "spm">
    } attributes {cores}
  } attributes {cores}
  func.return
}
