// hc_quant from any state, a block in and its codes and exponents out, as numerics/blocks.py has it:
//     e = min(max(0, L - (bits - 1)), MAG - (bits - 1));  code = clamp(rs(x, e)) to bits
// Assumed: the words of a block follow one another, bits stands still, no reset, and the ring's place
// is below its end (it is after reset; it stays so).
module f_quant #(
  parameter int TR = 2,
  parameter int SEG = 2,
  parameter int WPB = 1,
  parameter int W = 12,
  parameter int MAG = 11,
  parameter int CODE_W = 8,
  parameter int META = 2,
  parameter int NB = TR / SEG
) (
  input logic                      clk,
  input logic [4:0]                bits,
  input logic                      in_valid,
  input logic                      in_first,
  input logic                      in_last,
  input logic [META-1:0]           in_meta,
  input logic [TR-1:0][W-1:0]      in_word
);
  localparam int N = 2 * WPB + 4;
  typedef logic signed [W+1:0] wide_t;
  logic                      out_valid, out_first, out_last;
  logic [META-1:0]           out_meta;
  logic [TR-1:0][CODE_W-1:0] out_codes;
  logic [NB-1:0][4:0]        out_exp;
  hc_quant #(.TR(TR), .SEG(SEG), .WPB(WPB), .W(W), .MAG(MAG), .CODE_W(CODE_W), .META(META)) quant (
    .*, .rst_n(1'b1)
  );

  logic [7:0] age = '0;
  logic [7:0] word;  // of its block, that comes next
  logic [4:0] bits_1;
  logic [N:0] valids, firsts, lasts;
  logic [N:0][META-1:0] metas;
  logic [N:0][TR-1:0][W-1:0] words;
  assign valids[0] = in_valid;
  assign firsts[0] = in_valid && in_first;
  assign lasts[0] = in_valid && in_last;
  assign metas[0] = in_meta;
  assign words[0] = in_word;
  always_ff @(posedge clk) begin
    if (age != 8'(N)) age <= age + 1'b1;
    bits_1 <= bits;
    if (in_valid) word <= word == 8'(WPB - 1) ? '0 : word + 1'b1;
    for (int i = 1; i <= N; i++) begin
      valids[i] <= valids[i-1];
      firsts[i] <= firsts[i-1];
      lasts[i]  <= lasts[i-1];
      metas[i]  <= metas[i-1];
      words[i]  <= words[i-1];
    end
  end
  always_comb begin
    assume (word < 8'(WPB));
    assume (in_valid || word == 0);
    if (in_valid) assume (in_first == (word == 0) && in_last == (word == 8'(WPB - 1)));
    assume (bits >= 2 && bits <= 5'(CODE_W) && int'(bits) <= MAG && MAG - int'(bits) < 31);
    if (age != 0) assume (bits == bits_1);
    if (age == 0) assume (int'(quant.at) < WPB + 2);
    assert (int'(quant.at) < WPB + 2);
  end

  function automatic int exponent(input logic [W-1:0] magnitude);
    automatic int length = 0;
    for (int i = 0; i < W; i++) if (magnitude[i]) length = i + 1;
    length = length - (int'(bits) - 1);
    return length < 0 ? 0 : length > MAG - (int'(bits) - 1) ? MAG - (int'(bits) - 1) : length;
  endfunction
  function automatic wide_t code(input wide_t x, input int e);
    automatic wide_t c = (x + ((wide_t'(1) <<< e) >>> 1)) >>> e;
    automatic wide_t top = (wide_t'(1) <<< (bits - 1)) - 1;
    return c > top ? top : c < ~top ? ~top : c;
  endfunction

  // Word j of a block whose first came T = WPB + 4 + j cycles ago comes out now.
  for (genvar j = 0; j < WPB; j++) begin : g_word
    localparam int T = WPB + 4 + j;
    for (genvar b = 0; b < NB; b++) begin : g_block
      logic [W-1:0] magnitude;
      int e;
      always_comb begin
        magnitude = '0;
        for (int w = 0; w < WPB; w++)
          for (int i = 0; i < SEG; i++)
            magnitude |= words[T-w][b*SEG+i] ^ {W{words[T-w][b*SEG+i][W-1]}};
        e = exponent(magnitude);
        if (age == 8'(N) && firsts[T]) begin
          assert (out_valid && out_meta == metas[WPB+4]);
          assert (out_first == (j == 0) && out_last == (j == WPB - 1));
          assert (int'(out_exp[b]) == e);
          for (int i = 0; i < SEG; i++)
            assert (wide_t'($signed(out_codes[b*SEG+i]))
                    == code(wide_t'($signed(words[WPB+4][b*SEG+i])), e));
        end
      end
    end
  end
  always_comb if (age == 8'(N)) assert (out_valid == valids[WPB+4]);
endmodule
