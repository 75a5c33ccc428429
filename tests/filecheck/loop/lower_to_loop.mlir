// RUN: tilewright-opt %s -p lower-to-loop --split-input-file | filecheck %s

// A quantised convolution with its fused operations is one nest; a reshape is an alias.
func.func @main(%x: tensor<1x8x8x4xi8>, %w: tensor<3x3x4x16xi8>, %b: tensor<16xi32>, %m: tensor<16xi32>, %s: tensor<16xi32>, %f: tensor<2x3xf32>) -> (tensor<1x1024xi8>, tensor<2x3xf32>) {
  %c = graph.conv %x, %w, %b {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, layout = "NHWC", x_zp = 3 : i64} : (tensor<1x8x8x4xi8>, tensor<3x3x4x16xi8>, tensor<16xi32>) -> tensor<1x8x8x16xi32>
  %y = graph.region(%0 = %x : tensor<1x8x8x4xi8>, %1 = %w : tensor<3x3x4x16xi8>, %2 = %b : tensor<16xi32>, %3 = %m : tensor<16xi32>, %4 = %s : tensor<16xi32>) -> tensor<1x8x8x16xi8> on "npu" {
    %5 = graph.conv %0, %1, %2 {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, layout = "NHWC", x_zp = 3 : i64} : (tensor<1x8x8x4xi8>, tensor<3x3x4x16xi8>, tensor<16xi32>) -> tensor<1x8x8x16xi32>
    %6 = graph.requantize %5, %3, %4 {zp = -128 : i64} : (tensor<1x8x8x16xi32>, tensor<16xi32>, tensor<16xi32>) -> tensor<1x8x8x16xi8>
    graph.yield %6 : tensor<1x8x8x16xi8>
  }
  %r = graph.reshape %y : (tensor<1x8x8x16xi8>) -> tensor<1x1024xi8>
  %p = graph.softmax %f {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return %r, %p : tensor<1x1024xi8>, tensor<2x3xf32>
}

// CHECK:      loop.nest domain [1, 8, 8, 16, 3, 3, 4] reduce "add" over [4, 5, 6]
// CHECK-SAME: (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)
// CHECK-SAME: fills [3 : i64, unit, unit]
// CHECK:      %y = loop.nest domain [1, 8, 8, 16, 3, 3, 4] reduce "add" over [4, 5, 6]
// CHECK-SAME: epilogue_ins(%{{.*}}, %{{.*}}, %{{.*}} : tensor<16xi32>, tensor<16xi32>, tensor<16xi32>)
// CHECK-SAME: -> tensor<1x8x8x16xi8> on "npu"
// CHECK:        loop.apply "widen"(%{{.*}}) {zp = 3 : i64} : (i8) -> i32
// CHECK-NEXT:   loop.apply "widen"(%{{.*}}) : (i8) -> i32
// CHECK-NEXT:   loop.apply "mul"
// CHECK:      epilogue
// CHECK:        loop.apply "add"
// CHECK-NEXT:   loop.apply "requantize"(%{{.*}}, %{{.*}}, %{{.*}}) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64}
// CHECK:      %r = loop.reshape %y : tensor<1x8x8x16xi8> -> tensor<1x1024xi8>
// CHECK:      %max = loop.nest domain [2, 1, 3] reduce "max" over [2]
// CHECK:      %exp = loop.nest domain [2, 3]
// CHECK:        loop.apply "exp"
// CHECK:      %sum = loop.nest domain [2, 1, 3] reduce "add" over [2]
// CHECK:      %p = loop.nest domain [2, 3]
// CHECK:        loop.apply "div"

// -----

// On the NPU, the transposes of both factors are access maps of the product that reads them.
// CHECK:      func.func @main(%q: tensor<2x5x3x8xi8>, %k: tensor<2x6x3x8xi8>)
// CHECK-NEXT: loop.nest domain [2, 3, 5, 6, 8] reduce "add" over [4] ins(%q, %k : tensor<2x5x3x8xi8>, tensor<2x6x3x8xi8>)
// CHECK-SAME: (d0, d2, d1, d4)
// CHECK-SAME: (d0, d3, d1, d4)
func.func @main(%q: tensor<2x5x3x8xi8>, %k: tensor<2x6x3x8xi8>) -> tensor<2x3x5x6xi32> {
  %0 = graph.transpose %q {perm = array<i64: 0, 2, 1, 3>, device = "npu"} : (tensor<2x5x3x8xi8>) -> tensor<2x3x5x8xi8>
  %1 = graph.transpose %k {perm = array<i64: 0, 2, 3, 1>, device = "npu"} : (tensor<2x6x3x8xi8>) -> tensor<2x3x8x6xi8>
  %p = graph.matmul %0, %1 {device = "npu"} : (tensor<2x3x5x8xi8>, tensor<2x3x8x6xi8>) -> tensor<2x3x5x6xi32>
  func.return %p : tensor<2x3x5x6xi32>
}

// -----

// An integer softmax is three nests, each of which the vector unit has a command for.
// CHECK:      %max = loop.nest domain [2, 1, 5] reduce "max" over [2]
// CHECK:      %inverse = loop.nest domain [2, 1, 5] reduce "add" over [2] ins(%x, %max
// CHECK:        loop.extract %t
// CHECK:      epilogue
// CHECK:        loop.apply "qreciprocal"(%{{.*}}) {bits = 52 : i64}
// CHECK:      %y = loop.nest domain [2, 5] ins(%x, %max, %inverse
// CHECK:        loop.apply "requantize"(%{{.*}}, %{{.*}}, %{{.*}}) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64}
func.func @main(%x: tensor<2x5xi8>, %t: tensor<256xi32>) -> tensor<2x5xi8, #graph.quant<[0.00390625], [-128]>> {
  %y = graph.qsoftmax %x, %t {axis = 1 : i64, bits = 22 : i64, device = "npu"} : (tensor<2x5xi8>, tensor<256xi32>) -> tensor<2x5xi8, #graph.quant<[0.00390625], [-128]>>
  func.return %y : tensor<2x5xi8, #graph.quant<[0.00390625], [-128]>>
}
