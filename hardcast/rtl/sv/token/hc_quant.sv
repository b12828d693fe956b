// Block quantiser: TR values a cycle in, codes and an exponent a block out.
//
// A block is SEG neighbouring lanes of WPB consecutive words; a word holds TR / SEG blocks side by side.
//     L = bit length of the OR of one's-complement magnitudes over the block
//     e = min(max(0, L - (bits - 1)), MAG - (bits - 1));  code = clamp(rs(x, e))
// Every block is whole: the sequencer pads the last one with zeros. `meta` travels with a word.
// Latency WPB + 4, throughput 1 word.
module hc_quant #(
  parameter int TR = 1,
  parameter int SEG = 1,
  parameter int WPB = 1,
  parameter int W = 38,      // of a value, with sign; at least MAG + 1 unless narrower values come
  parameter int MAG = 37,
  parameter int CODE_W = 16,
  parameter int META = 1,
  parameter int NB = TR / SEG
) (
  input  logic                      clk,
  input  logic                      rst_n,
  input  logic [4:0]                bits,
  input  logic                      in_valid,
  input  logic                      in_first,  // word of its block
  input  logic                      in_last,
  input  logic [META-1:0]           in_meta,
  input  logic [TR-1:0][W-1:0]      in_word,
  output logic                      out_valid,
  output logic                      out_first,
  output logic                      out_last,
  output logic [META-1:0]           out_meta,
  output logic [TR-1:0][CODE_W-1:0] out_codes,
  output logic [NB-1:0][4:0]        out_exp
);
  localparam int D = WPB + 2;  // cycles from a word's arrival until its block's exponent is known

  // The words wait in a ring while the block's magnitude is collected.
  localparam int DW = $clog2(D);
  logic [TR*W-1:0] ring[D];
  logic [TR-1:0][W-1:0] word_d;
  logic [DW-1:0] at;
  logic valid_d, first_d, last_d;
  logic [META-1:0] meta_d;
  hc_delay #(.W(1), .N(D), .RESET(1)) u_valid (.clk, .rst_n, .d(in_valid), .q(valid_d));
  hc_delay #(.W(2 + META), .N(D)) u_ctl (
    .clk, .rst_n, .d({in_first, in_last, in_meta}), .q({first_d, last_d, meta_d})
  );
  always_ff @(posedge clk) begin
    at <= (!rst_n || at == DW'(D - 1)) ? '0 : at + 1'b1;
    if (in_valid) ring[at] <= in_word;
  end
  assign word_d = ring[at];  // written D cycles ago

  // Magnitudes: an OR over lanes, then over words.
  logic valid_1, first_1, last_1, done_2;
  logic [NB-1:0][W-1:0] lanes_1, block_2;
  always_ff @(posedge clk) begin
    valid_1 <= in_valid && rst_n;
    first_1 <= in_first;
    last_1  <= in_last;
    done_2  <= valid_1 && last_1 && rst_n;
    if (in_valid)
      for (int b = 0; b < NB; b++) begin
        automatic logic [W-1:0] o = '0;
        for (int i = 0; i < SEG; i++) begin
          automatic logic [W-1:0] v = in_word[b*SEG+i];
          o |= v ^ {W{v[W-1]}};
        end
        lanes_1[b] <= o;
      end
    if (valid_1)
      for (int b = 0; b < NB; b++) block_2[b] <= lanes_1[b] | (first_1 ? '0 : block_2[b]);
  end

  logic [NB-1:0][4:0] exp_d;
  always_ff @(posedge clk)
    if (done_2)
      for (int b = 0; b < NB; b++) begin
        automatic logic [W-1:0] magnitude = block_2[b];
        automatic logic [6:0] length = '0;
        for (int i = 0; i < W; i++) if (magnitude[i]) length = 7'(i + 1);
        if (length < 7'(bits)) exp_d[b] <= '0;
        else if (length > 7'(MAG)) exp_d[b] <= 5'(7'(MAG + 1) - 7'(bits));
        else exp_d[b] <= 5'(length + 7'd1 - 7'(bits));
      end

  // Codes: a rounding shift in two halves, then the clamp.
  logic valid_e, first_e, last_e;
  logic [META-1:0] meta_e;
  logic [TR-1:0][W:0] half_e;
  logic [NB-1:0][4:0] exp_e;
  always_ff @(posedge clk) begin
    valid_e <= valid_d && rst_n;
    {first_e, last_e, meta_e} <= {first_d, last_d, meta_d};
    if (valid_d) begin
      exp_e <= exp_d;
      for (int i = 0; i < TR; i++)
        half_e[i] <= exp_d[i/SEG] == 0 ? {word_d[i], 1'b0}
                   : (W+1)'($signed(word_d[i]) >>> (exp_d[i/SEG] - 5'd1));
    end
  end
  always_ff @(posedge clk) begin
    out_valid <= valid_e && rst_n;
    {out_first, out_last, out_meta} <= {first_e, last_e, meta_e};
    if (valid_e) begin
      out_exp <= exp_e;
      for (int i = 0; i < TR; i++) begin
        automatic logic signed [W+1:0] c = ((W+2)'($signed(half_e[i])) + (W+2)'(1)) >>> 1;
        automatic logic signed [W+1:0] top = ((W+2)'(1) <<< (bits - 5'd1)) - (W+2)'(1);
        out_codes[i] <= c > top ? CODE_W'(top) : c < ~top ? CODE_W'(~top) : CODE_W'(c);
      end
    end
  end

`ifndef SYNTHESIS
  // The words of a block come in consecutive cycles: the exponent must be ready when they leave.
  logic was_valid, was_last;
  always_ff @(posedge clk) begin
    was_valid <= in_valid && rst_n;
    was_last  <= in_last;
    if (rst_n && in_valid) begin
      assert (in_first || (was_valid && !was_last)) else $error("a gap within a block");
      assert (!in_first || !was_valid || was_last) else $error("a block was cut short");
      assert (bits >= 5'd2 && 32'(bits) <= CODE_W) else $error("codes of %0d bits", bits);
    end
  end
`endif
endmodule
