// RUN: tilewright-opt %s | filecheck %s
// RUN: tilewright-opt %s --print-debuginfo | filecheck %s --check-prefix LOC

// CHECK-LABEL: func.func @main
// CHECK: %c = graph.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>}
// LOC: graph.conv {{.*}} loc("/stem/conv")
// CHECK: graph.map "clip" %c {params = {max = 6.000000e+00 : f64, min = 0.000000e+00 : f64}}
// CHECK: tensor<1x4x8x8xi8, #graph.quant<[0.1], [3]>>
// CHECK: graph.region({{.*}}) -> tensor<1x4x8x8xf32> on "npu" {
func.func @main(%x: tensor<1x3x8x8xf32>, %w: tensor<4x3x3x3xf32>) -> tensor<1x4x8x8xf32> {
  %c = graph.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<1x4x8x8xf32> loc("/stem/conv")
  %r = graph.map "clip" %c {params = {max = 6.0 : f64, min = 0.0 : f64}} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %q = graph.quantize %r : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xi8, #graph.quant<[0.1], [3]>>
  %d = graph.dequantize %q : (tensor<1x4x8x8xi8, #graph.quant<[0.1], [3]>>) -> tensor<1x4x8x8xf32>
  %y = graph.region(%a = %d : tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32> on "npu" {
    %m = graph.map "relu" %a : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
    graph.yield %m : tensor<1x4x8x8xf32>
  }
  func.return %y : tensor<1x4x8x8xf32>
}
