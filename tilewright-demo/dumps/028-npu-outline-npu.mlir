builtin.module {
  func.func @main(%image: memref<1x1x8x8xf32, "dram"> loc(unknown), %logits: memref<1x10xf32, "dram"> loc(unknown)) attributes {input_names = ["image"], output_names = ["logits"], num_inputs = 1 : i64, arg_offsets = array<i64: 0, 256>, arena_bytes = 3392 : i64, arena_lower_bound = 3392 : i64, const_bytes = 34304 : i64} {
    %image_1 = loop.alloc {offset = 1344 : i64} : memref<1x1x8x8xi8, "dram"> loc(unknown)
    loop.nest domain [1, 1, 8, 8] ins(%image : memref<1x1x8x8xf32, "dram">) outs(%image_1 : memref<1x1x8x8xi8, "dram">) maps [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>] on "cpu" body {
    ^bb0(%0: f32 loc(unknown)):
      %1 = loop.apply "quantize"(%0) {hi = 127 : i64, lo = -128 : i64, scale = 0.0039215688593685627 : f64, zp = -128 : i64} : (f32) -> i8 loc(unknown)
      loop.yield %1 : i8 loc(unknown)
    } loc(unknown)
    %2 = loop.global dense<[27964, 14378, 11854, -11683, 1956, -70, -26912, 1432, 4694, -12997, 1944, 28028, -2181, 10907, 8083, 14567]> : tensor<16xi32> {offset = 0 : i64} : memref<16xi32, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %3 = loop.reshape %image_1 {device = "npu"} : memref<1x1x8x8xi8, "dram"> -> memref<1x8x8x1xi8, "dram"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %4 = loop.global #graph.ref<"0a6e597560c3082a2ae5784b9d71bc1e"> {offset = 256 : i64} : memref<3x3x1x16xi8, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %5 = loop.global dense<[1256441197, 2070274001, 2123598214, 1903274055, 1192421051, 1198856125, 1168889515, 1430316781, 2041290666, 1719593923, 1948977381, 1125197537, 1836070916, 1475241664, 1765068938, 1686987030]> : tensor<16xi32> {offset = 512 : i64} : memref<16xi32, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %6 = loop.global dense<[39, 39, 39, 39, 39, 38, 39, 38, 39, 39, 39, 39, 39, 39, 39, 39]> : tensor<16xi32> {offset = 768 : i64} : memref<16xi32, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %7 = loop.alloc {offset = 320 : i64} : memref<1x8x8x16xi8, "dram"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    loop.nest domain [1, 8, 8, 16, 3, 3, 1] reduce "add" over [4, 5, 6] ins(%3, %4 : memref<1x8x8x1xi8, "dram">, memref<3x3x1x16xi8, "const">) epilogue_ins(%2, %5, %6 : memref<16xi32, "const">, memref<16xi32, "const">, memref<16xi32, "const">) outs(%7 : memref<1x8x8x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%8: i8 loc(unknown), %9: i8 loc(unknown)):
      %10 = loop.apply "widen"(%8) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %11 = loop.apply "widen"(%9) : (i8) -> i32 loc(unknown)
      %12 = loop.apply "mul"(%10, %11) : (i32, i32) -> i32 loc(unknown)
      loop.yield %12 : i32 loc(unknown)
    } epilogue {
    ^bb0(%13: i32 loc(unknown), %14: i32 loc(unknown), %15: i32 loc(unknown), %16: i32 loc(unknown)):
      %17 = loop.apply "add"(%13, %14) : (i32, i32) -> i32 loc(unknown)
      %18 = loop.apply "requantize"(%17, %15, %16) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %18 : i8 loc(unknown)
    } loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %19 = loop.global dense<[14897, 6247, 15153, 15069, -9894, 12067, 21208, -5798, 9390, -18030, 7814, 16631, 25469, -8137, 12662, 9677]> : tensor<16xi32> {offset = 1024 : i64} : memref<16xi32, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %20 = loop.global #graph.ref<"7c42125346a2af114b34837d9c0ce42f"> {offset = 1280 : i64} : memref<3x3x16x16xi8, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %21 = loop.global dense<[1192834291, 1097287570, 1373196780, 1098765938, 1153084017, 2082753120, 1687800566, 1546275654, 1593810392, 1333230622, 1712179374, 1657496424, 1525140853, 1212587209, 1300237323, 1852182740]> : tensor<16xi32> {offset = 3584 : i64} : memref<16xi32, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %22 = loop.global dense<[38, 38, 39, 38, 39, 39, 39, 39, 39, 38, 39, 39, 39, 39, 39, 39]> : tensor<16xi32> {offset = 3840 : i64} : memref<16xi32, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %23 = loop.alloc {offset = 1344 : i64} : memref<1x8x8x16xi8, "dram"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    loop.nest domain [1, 8, 8, 16, 3, 3, 16] reduce "add" over [4, 5, 6] ins(%7, %20 : memref<1x8x8x16xi8, "dram">, memref<3x3x16x16xi8, "const">) epilogue_ins(%19, %21, %22 : memref<16xi32, "const">, memref<16xi32, "const">, memref<16xi32, "const">) outs(%23 : memref<1x8x8x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%24: i8 loc(unknown), %25: i8 loc(unknown)):
      %26 = loop.apply "widen"(%24) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %27 = loop.apply "widen"(%25) : (i8) -> i32 loc(unknown)
      %28 = loop.apply "mul"(%26, %27) : (i32, i32) -> i32 loc(unknown)
      loop.yield %28 : i32 loc(unknown)
    } epilogue {
    ^bb0(%29: i32 loc(unknown), %30: i32 loc(unknown), %31: i32 loc(unknown), %32: i32 loc(unknown)):
      %33 = loop.apply "add"(%29, %30) : (i32, i32) -> i32 loc(unknown)
      %34 = loop.apply "requantize"(%33, %31, %32) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %34 : i8 loc(unknown)
    } loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %35 = loop.global dense<[-20677, -8677, -14166, -6630, 2472, -7619, -8021, -7142, 15553, 13413, 8604, -9541, -1229, 10856, -10880, -2814]> : tensor<16xi32> {offset = 4096 : i64} : memref<16xi32, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %36 = loop.global #graph.ref<"c0d0c9223870c2169f9b60c428f9b577"> {offset = 4352 : i64} : memref<3x3x16x16xi8, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %37 = loop.global dense<[1385429531, 1886677302, 2143420017, 1160549520, 1300049258, 1144251568, 1314278634, 1217100378, 1246967911, 1165706392, 1296511759, 1362344687, 1375462449, 1350146905, 1601890296, 1476821657]> : tensor<16xi32> {offset = 6656 : i64} : memref<16xi32, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %38 = loop.global dense<[40, 41, 41, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40]> : tensor<16xi32> {offset = 6912 : i64} : memref<16xi32, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %39 = loop.alloc {offset = 2368 : i64} : memref<1x8x8x16xi8, "dram"> loc(fused["block1/second/conv", "block1/second/bn", "block1/add", "block1/relu"])
    loop.nest domain [1, 8, 8, 16, 3, 3, 16] reduce "add" over [4, 5, 6] ins(%23, %36 : memref<1x8x8x16xi8, "dram">, memref<3x3x16x16xi8, "const">) epilogue_ins(%35, %37, %38, %7 : memref<16xi32, "const">, memref<16xi32, "const">, memref<16xi32, "const">, memref<1x8x8x16xi8, "dram">) outs(%39 : memref<1x8x8x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit, unit] on "npu" body {
    ^bb0(%40: i8 loc(unknown), %41: i8 loc(unknown)):
      %42 = loop.apply "widen"(%40) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %43 = loop.apply "widen"(%41) : (i8) -> i32 loc(unknown)
      %44 = loop.apply "mul"(%42, %43) : (i32, i32) -> i32 loc(unknown)
      loop.yield %44 : i32 loc(unknown)
    } epilogue {
    ^bb0(%45: i32 loc(unknown), %46: i32 loc(unknown), %47: i32 loc(unknown), %48: i32 loc(unknown), %49: i8 loc(unknown)):
      %50 = loop.apply "add"(%45, %46) : (i32, i32) -> i32 loc(unknown)
      %51 = loop.apply "requantize"(%50, %47, %48) {hi = 127 : i64, lo = -128 : i64, zp = -12 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      %52 = loop.apply "qadd"(%51, %49) {hi = 127 : i64, lo = -128 : i64, ma = 1048576 : i64, mb = 344085 : i64, multiplier = 1953635885 : i64, shift = 50 : i64, za = -12 : i64, zb = -128 : i64, zp = -128 : i64} : (i8, i8) -> i8 loc(unknown)
      loop.yield %52 : i8 loc(unknown)
    } loc(fused["block1/second/conv", "block1/second/bn", "block1/add", "block1/relu"])
    %53 = loop.alloc {offset = 832 : i64} : memref<1x4x4x16xi8, "dram"> loc("pool")
    loop.nest domain [1, 4, 4, 16, 2, 2] reduce "max" over [4, 5] ins(%39 : memref<1x8x8x16xi8, "dram">) outs(%53 : memref<1x4x4x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, ((d1 * 2) + d4), ((d2 * 2) + d5), d3)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d3)>] on "npu" body {
    ^bb0(%54: i8 loc(unknown)):
      loop.yield %54 : i8 loc(unknown)
    } loc("pool")
    %55 = loop.global #graph.ref<"9994b4ac575ac2117b03c1b1cc353db1"> {offset = 7168 : i64} : memref<32xi32, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %56 = loop.global #graph.ref<"51e6439352020878cb3c0c6ad15733c6"> {offset = 7424 : i64} : memref<3x3x16x32xi8, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %57 = loop.global #graph.ref<"bc033550280e6b42d3cf12f682ef4bea"> {offset = 12032 : i64} : memref<32xi32, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %58 = loop.global #graph.ref<"198f13ebe0bfb0fb6a877e7096cd1ad2"> {offset = 12288 : i64} : memref<32xi32, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %59 = loop.alloc {offset = 320 : i64} : memref<1x4x4x32xi8, "dram"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    loop.nest domain [1, 4, 4, 32, 3, 3, 16] reduce "add" over [4, 5, 6] ins(%53, %56 : memref<1x4x4x16xi8, "dram">, memref<3x3x16x32xi8, "const">) epilogue_ins(%55, %57, %58 : memref<32xi32, "const">, memref<32xi32, "const">, memref<32xi32, "const">) outs(%59 : memref<1x4x4x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%60: i8 loc(unknown), %61: i8 loc(unknown)):
      %62 = loop.apply "widen"(%60) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %63 = loop.apply "widen"(%61) : (i8) -> i32 loc(unknown)
      %64 = loop.apply "mul"(%62, %63) : (i32, i32) -> i32 loc(unknown)
      loop.yield %64 : i32 loc(unknown)
    } epilogue {
    ^bb0(%65: i32 loc(unknown), %66: i32 loc(unknown), %67: i32 loc(unknown), %68: i32 loc(unknown)):
      %69 = loop.apply "add"(%65, %66) : (i32, i32) -> i32 loc(unknown)
      %70 = loop.apply "requantize"(%69, %67, %68) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %70 : i8 loc(unknown)
    } loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %71 = loop.global #graph.ref<"70d5c1c0be0f377243e60507b4485fab"> {offset = 12544 : i64} : memref<32xi32, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %72 = loop.global #graph.ref<"186cb2d9414abd31ae2cae9c0612a476"> {offset = 12800 : i64} : memref<3x3x32x32xi8, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %73 = loop.global #graph.ref<"f080939509b0d231ceb14c3e1b8cd076"> {offset = 22016 : i64} : memref<32xi32, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %74 = loop.global #graph.ref<"f1070c391d55613f5a832df55cf949b1"> {offset = 22272 : i64} : memref<32xi32, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %75 = loop.alloc {offset = 832 : i64} : memref<1x4x4x32xi8, "dram"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    loop.nest domain [1, 4, 4, 32, 3, 3, 32] reduce "add" over [4, 5, 6] ins(%59, %72 : memref<1x4x4x32xi8, "dram">, memref<3x3x32x32xi8, "const">) epilogue_ins(%71, %73, %74 : memref<32xi32, "const">, memref<32xi32, "const">, memref<32xi32, "const">) outs(%75 : memref<1x4x4x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%76: i8 loc(unknown), %77: i8 loc(unknown)):
      %78 = loop.apply "widen"(%76) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %79 = loop.apply "widen"(%77) : (i8) -> i32 loc(unknown)
      %80 = loop.apply "mul"(%78, %79) : (i32, i32) -> i32 loc(unknown)
      loop.yield %80 : i32 loc(unknown)
    } epilogue {
    ^bb0(%81: i32 loc(unknown), %82: i32 loc(unknown), %83: i32 loc(unknown), %84: i32 loc(unknown)):
      %85 = loop.apply "add"(%81, %82) : (i32, i32) -> i32 loc(unknown)
      %86 = loop.apply "requantize"(%85, %83, %84) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %86 : i8 loc(unknown)
    } loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %87 = loop.global #graph.ref<"a0629a96333205b3e217e91b78788baa"> {offset = 22528 : i64} : memref<32xi32, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %88 = loop.global #graph.ref<"060286c9d3d7273cdc93fb2a7eb99fe1"> {offset = 22784 : i64} : memref<3x3x32x32xi8, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %89 = loop.global #graph.ref<"40a43fd2ae4b3ba40cd44c89e526667d"> {offset = 32000 : i64} : memref<32xi32, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %90 = loop.global #graph.ref<"afa0daa9441614ece33e7de229c61d9e"> {offset = 32256 : i64} : memref<32xi32, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %91 = loop.alloc {offset = 1344 : i64} : memref<1x4x4x32xi8, "dram"> loc(fused["block2/second/conv", "block2/second/bn", "block2/add", "block2/relu"])
    loop.nest domain [1, 4, 4, 32, 3, 3, 32] reduce "add" over [4, 5, 6] ins(%75, %88 : memref<1x4x4x32xi8, "dram">, memref<3x3x32x32xi8, "const">) epilogue_ins(%87, %89, %90, %59 : memref<32xi32, "const">, memref<32xi32, "const">, memref<32xi32, "const">, memref<1x4x4x32xi8, "dram">) outs(%91 : memref<1x4x4x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit, unit] on "npu" body {
    ^bb0(%92: i8 loc(unknown), %93: i8 loc(unknown)):
      %94 = loop.apply "widen"(%92) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %95 = loop.apply "widen"(%93) : (i8) -> i32 loc(unknown)
      %96 = loop.apply "mul"(%94, %95) : (i32, i32) -> i32 loc(unknown)
      loop.yield %96 : i32 loc(unknown)
    } epilogue {
    ^bb0(%97: i32 loc(unknown), %98: i32 loc(unknown), %99: i32 loc(unknown), %100: i32 loc(unknown), %101: i8 loc(unknown)):
      %102 = loop.apply "add"(%97, %98) : (i32, i32) -> i32 loc(unknown)
      %103 = loop.apply "requantize"(%102, %99, %100) {hi = 127 : i64, lo = -128 : i64, zp = -1 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      %104 = loop.apply "qadd"(%103, %101) {hi = 127 : i64, lo = -128 : i64, ma = 1048576 : i64, mb = 481551 : i64, multiplier = 1787417827 : i64, shift = 50 : i64, za = -1 : i64, zb = -128 : i64, zp = -128 : i64} : (i8, i8) -> i8 loc(unknown)
      loop.yield %104 : i8 loc(unknown)
    } loc(fused["block2/second/conv", "block2/second/bn", "block2/add", "block2/relu"])
    %multiplier = loop.global dense<1753079451> : tensor<1xi32> {offset = 32512 : i64} : memref<1xi32, "const"> loc("head/mean")
    %shift = loop.global dense<34> : tensor<1xi32> {offset = 32768 : i64} : memref<1xi32, "const"> loc("head/mean")
    %105 = loop.alloc {offset = 320 : i64} : memref<1x1x1x32xi8, "dram"> loc("head/mean")
    loop.nest domain [1, 1, 1, 32, 4, 4] reduce "add" over [4, 5] ins(%91 : memref<1x4x4x32xi8, "dram">) epilogue_ins(%multiplier, %shift : memref<1xi32, "const">, memref<1xi32, "const">) outs(%105 : memref<1x1x1x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d4, d5, d3)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (0)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (0)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d3)>] on "npu" body {
    ^bb0(%106: i8 loc(unknown)):
      %107 = loop.apply "widen"(%106) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      loop.yield %107 : i32 loc(unknown)
    } epilogue {
    ^bb0(%108: i32 loc(unknown), %109: i32 loc(unknown), %110: i32 loc(unknown)):
      %111 = loop.apply "requantize"(%108, %109, %110) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %111 : i8 loc(unknown)
    } loc("head/mean")
    %112 = loop.reshape %105 {device = "npu"} : memref<1x1x1x32xi8, "dram"> -> memref<1x32xi8, "dram"> loc(fused["block2/second/conv", "block2/second/bn", "widen/conv", "widen/bn", "widen/relu", "block2/add", "block2/relu", "head/mean", "head/flatten"])
    %113 = loop.global #graph.ref<"99441f24b8d5786056cafa98fc28b095"> {offset = 33024 : i64} : memref<32x10xi8, "const"> loc("head/scores")
    %114 = loop.global dense<[-440, 189, -1047, 1028, -798, 871, -925, 771, 1025, 181]> : tensor<10xi32> {offset = 33536 : i64} : memref<10xi32, "const"> loc("head/scores")
    %multiplier_1 = loop.global dense<[1790674297, 1156391510, 2007972405, 2073060451, 1900596836, 1923070758, 1811188378, 1809796753, 1778761163, 1215109041]> : tensor<10xi32> {offset = 33792 : i64} : memref<10xi32, "const"> loc("head/scores")
    %shift_1 = loop.global dense<[40, 39, 40, 40, 40, 40, 40, 40, 40, 39]> : tensor<10xi32> {offset = 34048 : i64} : memref<10xi32, "const"> loc("head/scores")
    %logits_1 = loop.alloc {offset = 384 : i64} : memref<1x10xi8, "dram"> loc("head/scores")
    loop.nest domain [1, 10, 32] reduce "add" over [2] ins(%112, %113 : memref<1x32xi8, "dram">, memref<32x10xi8, "const">) epilogue_ins(%114, %multiplier_1, %shift_1 : memref<10xi32, "const">, memref<10xi32, "const">, memref<10xi32, "const">) outs(%logits_1 : memref<1x10xi8, "dram">) maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d1)>, affine_map<(d0, d1, d2) -> (d1)>, affine_map<(d0, d1, d2) -> (d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>] on "npu" body {
    ^bb0(%115: i8 loc(unknown), %116: i8 loc(unknown)):
      %117 = loop.apply "widen"(%115) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %118 = loop.apply "widen"(%116) : (i8) -> i32 loc(unknown)
      %119 = loop.apply "mul"(%117, %118) : (i32, i32) -> i32 loc(unknown)
      loop.yield %119 : i32 loc(unknown)
    } epilogue {
    ^bb0(%120: i32 loc(unknown), %121: i32 loc(unknown), %122: i32 loc(unknown), %123: i32 loc(unknown)):
      %124 = loop.apply "add"(%120, %121) : (i32, i32) -> i32 loc(unknown)
      %125 = loop.apply "requantize"(%124, %122, %123) {hi = 127 : i64, lo = -128 : i64, zp = -64 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %125 : i8 loc(unknown)
    } attributes {tensor = "logits"} loc("head/scores")
    loop.nest domain [1, 10] ins(%logits_1 : memref<1x10xi8, "dram">) outs(%logits : memref<1x10xf32, "dram">) maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>] on "cpu" body {
    ^bb0(%126: i8 loc(unknown)):
      %127 = loop.apply "dequantize"(%126) {scale = 0.030133245512843132 : f64, zp = -64 : i64} : (i8) -> f32 loc(unknown)
      loop.yield %127 : f32 loc(unknown)
    } attributes {tensor = "logits"} loc("head/scores")
    func.return loc(unknown)
  } loc(unknown)
  func.func @npu_segment_1() {
    %image = loop.alloc {offset = 1344 : i64} : memref<1x1x8x8xi8, "dram"> loc(unknown)
    %0 = loop.reshape %image {device = "npu"} : memref<1x1x8x8xi8, "dram"> -> memref<1x8x8x1xi8, "dram"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %1 = loop.global #graph.ref<"0a6e597560c3082a2ae5784b9d71bc1e"> {offset = 256 : i64} : memref<3x3x1x16xi8, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %2 = loop.global dense<[27964, 14378, 11854, -11683, 1956, -70, -26912, 1432, 4694, -12997, 1944, 28028, -2181, 10907, 8083, 14567]> : tensor<16xi32> {offset = 0 : i64} : memref<16xi32, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %3 = loop.global dense<[1256441197, 2070274001, 2123598214, 1903274055, 1192421051, 1198856125, 1168889515, 1430316781, 2041290666, 1719593923, 1948977381, 1125197537, 1836070916, 1475241664, 1765068938, 1686987030]> : tensor<16xi32> {offset = 512 : i64} : memref<16xi32, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %4 = loop.global dense<[39, 39, 39, 39, 39, 38, 39, 38, 39, 39, 39, 39, 39, 39, 39, 39]> : tensor<16xi32> {offset = 768 : i64} : memref<16xi32, "const"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %5 = loop.alloc {local, offset = 320 : i64} : memref<1x8x8x16xi8, "dram"> loc(fused["stem/conv", "stem/bn", "stem/relu"])
    loop.nest domain [1, 8, 8, 16, 3, 3, 1] reduce "add" over [4, 5, 6] ins(%0, %1 : memref<1x8x8x1xi8, "dram">, memref<3x3x1x16xi8, "const">) epilogue_ins(%2, %3, %4 : memref<16xi32, "const">, memref<16xi32, "const">, memref<16xi32, "const">) outs(%5 : memref<1x8x8x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%6: i8 loc(unknown), %7: i8 loc(unknown)):
      %8 = loop.apply "widen"(%6) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %9 = loop.apply "widen"(%7) : (i8) -> i32 loc(unknown)
      %10 = loop.apply "mul"(%8, %9) : (i32, i32) -> i32 loc(unknown)
      loop.yield %10 : i32 loc(unknown)
    } epilogue {
    ^bb0(%11: i32 loc(unknown), %12: i32 loc(unknown), %13: i32 loc(unknown), %14: i32 loc(unknown)):
      %15 = loop.apply "add"(%11, %12) : (i32, i32) -> i32 loc(unknown)
      %16 = loop.apply "requantize"(%15, %13, %14) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %16 : i8 loc(unknown)
    } loc(fused["stem/conv", "stem/bn", "stem/relu"])
    %17 = loop.global #graph.ref<"7c42125346a2af114b34837d9c0ce42f"> {offset = 1280 : i64} : memref<3x3x16x16xi8, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %18 = loop.global dense<[14897, 6247, 15153, 15069, -9894, 12067, 21208, -5798, 9390, -18030, 7814, 16631, 25469, -8137, 12662, 9677]> : tensor<16xi32> {offset = 1024 : i64} : memref<16xi32, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %19 = loop.global dense<[1192834291, 1097287570, 1373196780, 1098765938, 1153084017, 2082753120, 1687800566, 1546275654, 1593810392, 1333230622, 1712179374, 1657496424, 1525140853, 1212587209, 1300237323, 1852182740]> : tensor<16xi32> {offset = 3584 : i64} : memref<16xi32, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %20 = loop.global dense<[38, 38, 39, 38, 39, 39, 39, 39, 39, 38, 39, 39, 39, 39, 39, 39]> : tensor<16xi32> {offset = 3840 : i64} : memref<16xi32, "const"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %21 = loop.alloc {local, offset = 1344 : i64} : memref<1x8x8x16xi8, "dram"> loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    loop.nest domain [1, 8, 8, 16, 3, 3, 16] reduce "add" over [4, 5, 6] ins(%5, %17 : memref<1x8x8x16xi8, "dram">, memref<3x3x16x16xi8, "const">) epilogue_ins(%18, %19, %20 : memref<16xi32, "const">, memref<16xi32, "const">, memref<16xi32, "const">) outs(%21 : memref<1x8x8x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%22: i8 loc(unknown), %23: i8 loc(unknown)):
      %24 = loop.apply "widen"(%22) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %25 = loop.apply "widen"(%23) : (i8) -> i32 loc(unknown)
      %26 = loop.apply "mul"(%24, %25) : (i32, i32) -> i32 loc(unknown)
      loop.yield %26 : i32 loc(unknown)
    } epilogue {
    ^bb0(%27: i32 loc(unknown), %28: i32 loc(unknown), %29: i32 loc(unknown), %30: i32 loc(unknown)):
      %31 = loop.apply "add"(%27, %28) : (i32, i32) -> i32 loc(unknown)
      %32 = loop.apply "requantize"(%31, %29, %30) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %32 : i8 loc(unknown)
    } loc(fused["block1/first/conv", "block1/first/bn", "block1/first/relu"])
    %33 = loop.global #graph.ref<"c0d0c9223870c2169f9b60c428f9b577"> {offset = 4352 : i64} : memref<3x3x16x16xi8, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %34 = loop.global dense<[-20677, -8677, -14166, -6630, 2472, -7619, -8021, -7142, 15553, 13413, 8604, -9541, -1229, 10856, -10880, -2814]> : tensor<16xi32> {offset = 4096 : i64} : memref<16xi32, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %35 = loop.global dense<[1385429531, 1886677302, 2143420017, 1160549520, 1300049258, 1144251568, 1314278634, 1217100378, 1246967911, 1165706392, 1296511759, 1362344687, 1375462449, 1350146905, 1601890296, 1476821657]> : tensor<16xi32> {offset = 6656 : i64} : memref<16xi32, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %36 = loop.global dense<[40, 41, 41, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40]> : tensor<16xi32> {offset = 6912 : i64} : memref<16xi32, "const"> loc(fused["block1/second/conv", "block1/second/bn"])
    %37 = loop.alloc {local, offset = 2368 : i64} : memref<1x8x8x16xi8, "dram"> loc(fused["block1/second/conv", "block1/second/bn", "block1/add", "block1/relu"])
    loop.nest domain [1, 8, 8, 16, 3, 3, 16] reduce "add" over [4, 5, 6] ins(%21, %33 : memref<1x8x8x16xi8, "dram">, memref<3x3x16x16xi8, "const">) epilogue_ins(%34, %35, %36, %5 : memref<16xi32, "const">, memref<16xi32, "const">, memref<16xi32, "const">, memref<1x8x8x16xi8, "dram">) outs(%37 : memref<1x8x8x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit, unit] on "npu" body {
    ^bb0(%38: i8 loc(unknown), %39: i8 loc(unknown)):
      %40 = loop.apply "widen"(%38) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %41 = loop.apply "widen"(%39) : (i8) -> i32 loc(unknown)
      %42 = loop.apply "mul"(%40, %41) : (i32, i32) -> i32 loc(unknown)
      loop.yield %42 : i32 loc(unknown)
    } epilogue {
    ^bb0(%43: i32 loc(unknown), %44: i32 loc(unknown), %45: i32 loc(unknown), %46: i32 loc(unknown), %47: i8 loc(unknown)):
      %48 = loop.apply "add"(%43, %44) : (i32, i32) -> i32 loc(unknown)
      %49 = loop.apply "requantize"(%48, %45, %46) {hi = 127 : i64, lo = -128 : i64, zp = -12 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      %50 = loop.apply "qadd"(%49, %47) {hi = 127 : i64, lo = -128 : i64, ma = 1048576 : i64, mb = 344085 : i64, multiplier = 1953635885 : i64, shift = 50 : i64, za = -12 : i64, zb = -128 : i64, zp = -128 : i64} : (i8, i8) -> i8 loc(unknown)
      loop.yield %50 : i8 loc(unknown)
    } loc(fused["block1/second/conv", "block1/second/bn", "block1/add", "block1/relu"])
    %51 = loop.alloc {local, offset = 832 : i64} : memref<1x4x4x16xi8, "dram"> loc("pool")
    loop.nest domain [1, 4, 4, 16, 2, 2] reduce "max" over [4, 5] ins(%37 : memref<1x8x8x16xi8, "dram">) outs(%51 : memref<1x4x4x16xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, ((d1 * 2) + d4), ((d2 * 2) + d5), d3)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d3)>] on "npu" body {
    ^bb0(%52: i8 loc(unknown)):
      loop.yield %52 : i8 loc(unknown)
    } loc("pool")
    %53 = loop.global #graph.ref<"51e6439352020878cb3c0c6ad15733c6"> {offset = 7424 : i64} : memref<3x3x16x32xi8, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %54 = loop.global #graph.ref<"9994b4ac575ac2117b03c1b1cc353db1"> {offset = 7168 : i64} : memref<32xi32, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %55 = loop.global #graph.ref<"bc033550280e6b42d3cf12f682ef4bea"> {offset = 12032 : i64} : memref<32xi32, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %56 = loop.global #graph.ref<"198f13ebe0bfb0fb6a877e7096cd1ad2"> {offset = 12288 : i64} : memref<32xi32, "const"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %57 = loop.alloc {local, offset = 320 : i64} : memref<1x4x4x32xi8, "dram"> loc(fused["widen/conv", "widen/bn", "widen/relu"])
    loop.nest domain [1, 4, 4, 32, 3, 3, 16] reduce "add" over [4, 5, 6] ins(%51, %53 : memref<1x4x4x16xi8, "dram">, memref<3x3x16x32xi8, "const">) epilogue_ins(%54, %55, %56 : memref<32xi32, "const">, memref<32xi32, "const">, memref<32xi32, "const">) outs(%57 : memref<1x4x4x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%58: i8 loc(unknown), %59: i8 loc(unknown)):
      %60 = loop.apply "widen"(%58) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %61 = loop.apply "widen"(%59) : (i8) -> i32 loc(unknown)
      %62 = loop.apply "mul"(%60, %61) : (i32, i32) -> i32 loc(unknown)
      loop.yield %62 : i32 loc(unknown)
    } epilogue {
    ^bb0(%63: i32 loc(unknown), %64: i32 loc(unknown), %65: i32 loc(unknown), %66: i32 loc(unknown)):
      %67 = loop.apply "add"(%63, %64) : (i32, i32) -> i32 loc(unknown)
      %68 = loop.apply "requantize"(%67, %65, %66) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %68 : i8 loc(unknown)
    } loc(fused["widen/conv", "widen/bn", "widen/relu"])
    %69 = loop.global #graph.ref<"186cb2d9414abd31ae2cae9c0612a476"> {offset = 12800 : i64} : memref<3x3x32x32xi8, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %70 = loop.global #graph.ref<"70d5c1c0be0f377243e60507b4485fab"> {offset = 12544 : i64} : memref<32xi32, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %71 = loop.global #graph.ref<"f080939509b0d231ceb14c3e1b8cd076"> {offset = 22016 : i64} : memref<32xi32, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %72 = loop.global #graph.ref<"f1070c391d55613f5a832df55cf949b1"> {offset = 22272 : i64} : memref<32xi32, "const"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %73 = loop.alloc {local, offset = 832 : i64} : memref<1x4x4x32xi8, "dram"> loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    loop.nest domain [1, 4, 4, 32, 3, 3, 32] reduce "add" over [4, 5, 6] ins(%57, %69 : memref<1x4x4x32xi8, "dram">, memref<3x3x32x32xi8, "const">) epilogue_ins(%70, %71, %72 : memref<32xi32, "const">, memref<32xi32, "const">, memref<32xi32, "const">) outs(%73 : memref<1x4x4x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit] on "npu" body {
    ^bb0(%74: i8 loc(unknown), %75: i8 loc(unknown)):
      %76 = loop.apply "widen"(%74) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %77 = loop.apply "widen"(%75) : (i8) -> i32 loc(unknown)
      %78 = loop.apply "mul"(%76, %77) : (i32, i32) -> i32 loc(unknown)
      loop.yield %78 : i32 loc(unknown)
    } epilogue {
    ^bb0(%79: i32 loc(unknown), %80: i32 loc(unknown), %81: i32 loc(unknown), %82: i32 loc(unknown)):
      %83 = loop.apply "add"(%79, %80) : (i32, i32) -> i32 loc(unknown)
      %84 = loop.apply "requantize"(%83, %81, %82) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %84 : i8 loc(unknown)
    } loc(fused["block2/first/conv", "block2/first/bn", "block2/first/relu"])
    %85 = loop.global #graph.ref<"060286c9d3d7273cdc93fb2a7eb99fe1"> {offset = 22784 : i64} : memref<3x3x32x32xi8, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %86 = loop.global #graph.ref<"a0629a96333205b3e217e91b78788baa"> {offset = 22528 : i64} : memref<32xi32, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %87 = loop.global #graph.ref<"40a43fd2ae4b3ba40cd44c89e526667d"> {offset = 32000 : i64} : memref<32xi32, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %88 = loop.global #graph.ref<"afa0daa9441614ece33e7de229c61d9e"> {offset = 32256 : i64} : memref<32xi32, "const"> loc(fused["block2/second/conv", "block2/second/bn"])
    %89 = loop.alloc {local, offset = 1344 : i64} : memref<1x4x4x32xi8, "dram"> loc(fused["block2/second/conv", "block2/second/bn", "block2/add", "block2/relu"])
    loop.nest domain [1, 4, 4, 32, 3, 3, 32] reduce "add" over [4, 5, 6] ins(%73, %85 : memref<1x4x4x32xi8, "dram">, memref<3x3x32x32xi8, "const">) epilogue_ins(%86, %87, %88, %57 : memref<32xi32, "const">, memref<32xi32, "const">, memref<32xi32, "const">, memref<1x4x4x32xi8, "dram">) outs(%89 : memref<1x4x4x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, ((d1 + d4) + -1), ((d2 + d5) + -1), d6)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d4, d5, d6, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d1, d2, d3)>] fills [-128 : i64, unit, unit, unit, unit, unit] on "npu" body {
    ^bb0(%90: i8 loc(unknown), %91: i8 loc(unknown)):
      %92 = loop.apply "widen"(%90) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %93 = loop.apply "widen"(%91) : (i8) -> i32 loc(unknown)
      %94 = loop.apply "mul"(%92, %93) : (i32, i32) -> i32 loc(unknown)
      loop.yield %94 : i32 loc(unknown)
    } epilogue {
    ^bb0(%95: i32 loc(unknown), %96: i32 loc(unknown), %97: i32 loc(unknown), %98: i32 loc(unknown), %99: i8 loc(unknown)):
      %100 = loop.apply "add"(%95, %96) : (i32, i32) -> i32 loc(unknown)
      %101 = loop.apply "requantize"(%100, %97, %98) {hi = 127 : i64, lo = -128 : i64, zp = -1 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      %102 = loop.apply "qadd"(%101, %99) {hi = 127 : i64, lo = -128 : i64, ma = 1048576 : i64, mb = 481551 : i64, multiplier = 1787417827 : i64, shift = 50 : i64, za = -1 : i64, zb = -128 : i64, zp = -128 : i64} : (i8, i8) -> i8 loc(unknown)
      loop.yield %102 : i8 loc(unknown)
    } loc(fused["block2/second/conv", "block2/second/bn", "block2/add", "block2/relu"])
    %multiplier = loop.global dense<1753079451> : tensor<1xi32> {offset = 32512 : i64} : memref<1xi32, "const"> loc("head/mean")
    %shift = loop.global dense<34> : tensor<1xi32> {offset = 32768 : i64} : memref<1xi32, "const"> loc("head/mean")
    %103 = loop.alloc {local, offset = 320 : i64} : memref<1x1x1x32xi8, "dram"> loc("head/mean")
    loop.nest domain [1, 1, 1, 32, 4, 4] reduce "add" over [4, 5] ins(%89 : memref<1x4x4x32xi8, "dram">) epilogue_ins(%multiplier, %shift : memref<1xi32, "const">, memref<1xi32, "const">) outs(%103 : memref<1x1x1x32xi8, "dram">) maps [affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d4, d5, d3)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (0)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (0)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d3)>] on "npu" body {
    ^bb0(%104: i8 loc(unknown)):
      %105 = loop.apply "widen"(%104) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      loop.yield %105 : i32 loc(unknown)
    } epilogue {
    ^bb0(%106: i32 loc(unknown), %107: i32 loc(unknown), %108: i32 loc(unknown)):
      %109 = loop.apply "requantize"(%106, %107, %108) {hi = 127 : i64, lo = -128 : i64, zp = -128 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %109 : i8 loc(unknown)
    } loc("head/mean")
    %110 = loop.reshape %103 {device = "npu"} : memref<1x1x1x32xi8, "dram"> -> memref<1x32xi8, "dram"> loc(fused["block2/second/conv", "block2/second/bn", "widen/conv", "widen/bn", "widen/relu", "block2/add", "block2/relu", "head/mean", "head/flatten"])
    %111 = loop.global #graph.ref<"99441f24b8d5786056cafa98fc28b095"> {offset = 33024 : i64} : memref<32x10xi8, "const"> loc("head/scores")
    %112 = loop.global dense<[-440, 189, -1047, 1028, -798, 871, -925, 771, 1025, 181]> : tensor<10xi32> {offset = 33536 : i64} : memref<10xi32, "const"> loc("head/scores")
    %multiplier_1 = loop.global dense<[1790674297, 1156391510, 2007972405, 2073060451, 1900596836, 1923070758, 1811188378, 1809796753, 1778761163, 1215109041]> : tensor<10xi32> {offset = 33792 : i64} : memref<10xi32, "const"> loc("head/scores")
    %shift_1 = loop.global dense<[40, 39, 40, 40, 40, 40, 40, 40, 40, 39]> : tensor<10xi32> {offset = 34048 : i64} : memref<10xi32, "const"> loc("head/scores")
    %logits = loop.alloc {offset = 384 : i64} : memref<1x10xi8, "dram"> loc("head/scores")
    loop.nest domain [1, 10, 32] reduce "add" over [2] ins(%110, %111 : memref<1x32xi8, "dram">, memref<32x10xi8, "const">) epilogue_ins(%112, %multiplier_1, %shift_1 : memref<10xi32, "const">, memref<10xi32, "const">, memref<10xi32, "const">) outs(%logits : memref<1x10xi8, "dram">) maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d1)>, affine_map<(d0, d1, d2) -> (d1)>, affine_map<(d0, d1, d2) -> (d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>] on "npu" body {
    ^bb0(%113: i8 loc(unknown), %114: i8 loc(unknown)):
      %115 = loop.apply "widen"(%113) {zp = -128 : i64} : (i8) -> i32 loc(unknown)
      %116 = loop.apply "widen"(%114) : (i8) -> i32 loc(unknown)
      %117 = loop.apply "mul"(%115, %116) : (i32, i32) -> i32 loc(unknown)
      loop.yield %117 : i32 loc(unknown)
    } epilogue {
    ^bb0(%118: i32 loc(unknown), %119: i32 loc(unknown), %120: i32 loc(unknown), %121: i32 loc(unknown)):
      %122 = loop.apply "add"(%118, %119) : (i32, i32) -> i32 loc(unknown)
      %123 = loop.apply "requantize"(%122, %120, %121) {hi = 127 : i64, lo = -128 : i64, zp = -64 : i64} : (i32, i32, i32) -> i8 loc(unknown)
      loop.yield %123 : i8 loc(unknown)
    } attributes {tensor = "logits"} loc("head/scores")
    func.return loc(unknown)
  } loc(unknown)
} loc(unknown)
