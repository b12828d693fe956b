// HEAD_NORM of q or k (Qwen 3), in two passes over its words.
//
// Pass 1 (sum): squares of every head, block by block of at most 64 channels, then 1/rms of each head.
// Pass 2 (apply): rs(rescale(x * r, 17 + halfshift) * gain, NORMED_SHIFT), written back in place.
//if blocked
// Pass 1 reads a head's words in the order of their channels, then zeros up to a whole block; a word of
// more than 64 lanes a head holds several blocks of it.
// Latency: sum, from the last word to sum_done: HSUM_WORDS + 14 + ceil(log4 SEGS); apply, from a
//else
// A head longer than 64 channels has two blocks, its halves: pass 1 reads them one after the other.
// Latency: sum, from the last word to sum_done: HSUM_WORDS + 14 + ceil(log4 SEGH); apply, from a
//endif
// word to its write: 6.
module hc_head_norm
  import hardcast_pkg::*;
(
  input  logic                        clk,
  input  logic                        rst_n,
  // words of the step, a cycle after they were asked for
  input  logic                        sum_valid,
  input  logic                        apply_valid,
  input  vec_t                        vec,
  input  logic [47:0]                 epsilon,
  input  logic [TR-1:0][31:0]         word,
  input  logic [TR-1:0][GAIN_W-1:0]   gain,
  output logic                        sum_done,
  output logic                        we,
  output logic                        apply_done,
  output logic [WORD_AW-1:0]          waddr,
  output logic [TR-1:0][31:0]         wdata
);
  // ---- pass 1 ----
  logic s_valid, s_first, s_last, s_head_first, s_head_last, s_done;
  logic [TR*16-1:0] codes;
//if blocked
  localparam int BLOCKS = SEGH / SEGS;  // of a head in a word
  logic [HPP*BLOCKS-1:0][4:0] exps;
  hc_quant #(.TR(TR), .SEG(SEGS), .WPB(HSUM_WORDS), .W(32), .MAG(37), .CODE_W(16), .META(3)) u_blocks (
//else
  logic [HPP-1:0][4:0] exps;
  hc_quant #(.TR(TR), .SEG(SEGH), .WPB(HSUM_WORDS), .W(32), .MAG(37), .CODE_W(16), .META(3)) u_blocks (
//endif
    .clk, .rst_n, .bits(5'd16), .in_valid(sum_valid), .in_first(vec.block_first), .in_last(vec.block_last),
//if blocked
    .in_meta({vec.head_first, vec.head_last, vec.done}), .in_word(vec.zero ? '0 : word), .out_valid(s_valid),
//else
    .in_meta({vec.head_first, vec.head_last, vec.done}), .in_word(word), .out_valid(s_valid),
//endif
    .out_first(s_first), .out_last(s_last), .out_meta({s_head_first, s_head_last, s_done}),
    .out_codes(codes), .out_exp(exps)
  );
  logic [63:0] epsilon_n;
  always_ff @(posedge clk) if (sum_valid) epsilon_n <= 64'(epsilon);

  logic [HPP-1:0] r_valid;
  logic [HPP-1:0][16:0] r_new;
  logic [HPP-1:0][6:0] half_new;
  for (genvar j = 0; j < HPP; j++) begin : g_head
    logic v_valid;
    logic [V_W-1:0] v;
//if blocked
    hc_squares #(.LANES(SEGH), .SEG(SEGS)) u_squares (
//else
    hc_squares #(.LANES(SEGH), .SEG(SEGH)) u_squares (
//endif
      .clk, .rst_n, .in_valid(s_valid), .in_first(s_head_first), .in_last(s_head_last), .epsilon(epsilon_n),
//if blocked
      .codes(codes[j*SEGH*16 +: SEGH*16]), .exps(exps[j*BLOCKS +: BLOCKS]), .out_valid(v_valid), .v
//else
      .codes(codes[j*SEGH*16 +: SEGH*16]), .exps(exps[j]), .out_valid(v_valid), .v
//endif
    );
    hc_rsqrt u_rsqrt (
      .clk, .rst_n, .in_valid(v_valid), .v, .out_valid(r_valid[j]), .r(r_new[j]), .halfshift(half_new[j])
    );
  end
  // 1/rms of every head, by group of HPP; `done` follows the last head's squares through the root.
  logic [HPP-1:0][23:0] roots[HEAD_GROUPS];
  logic [GROUP_AW-1:0] group;
  logic done_r;
  hc_delay #(.W(1), .N(SQUARES_LATENCY_H + 5), .RESET(1)) u_done (
    .clk, .rst_n, .d(s_valid && s_head_last && s_done), .q(done_r)
  );
  always_ff @(posedge clk) begin
    sum_done <= done_r && rst_n;
    if (!rst_n || (r_valid[0] && done_r)) group <= '0;
    else if (r_valid[0]) group <= group + 1'b1;
    if (r_valid[0])
      for (int j = 0; j < HPP; j++) roots[group][j] <= {half_new[j], r_new[j]};
  end

  // ---- pass 2 ----
  logic valid_1, valid_2, valid_3, valid_4, valid_5, done_5;
  logic [WORD_AW-1:0] addr_5;
  logic [GROUP_AW-1:0] at;
  logic [HPP-1:0][23:0] root;
  assign root = roots[at];
  always_ff @(posedge clk) begin
    {valid_5, valid_4, valid_3, valid_2, valid_1} <=
        rst_n ? {valid_4, valid_3, valid_2, valid_1, apply_valid} : '0;
    we <= valid_5 && rst_n;
    apply_done <= valid_5 && done_5 && rst_n;
    waddr <= addr_5;
    if (!rst_n || (apply_valid && vec.last)) at <= '0;
    else if (apply_valid && vec.block_last) at <= at + 1'b1;
  end
  hc_delay #(.W(WORD_AW + 1), .N(5)) u_addr (
    .clk, .rst_n, .d({vec.base + vec.word, vec.done}), .q({addr_5, done_5})
  );
  for (genvar i = 0; i < TR; i++) begin : g_lane
    localparam int J = i / SEGH;
    logic signed [41:0] low_1, high_1;
    logic signed [49:0] product_2, half_3;
    logic signed [31:0] normed_4;
    logic signed [31+GAIN_W:0] scaled_5;
    logic signed [7:0] k_1, k_2;
    logic signed [GAIN_W-1:0] gain_1, gain_2, gain_3, gain_4;
    always_ff @(posedge clk) begin
      if (apply_valid) begin
        low_1  <= 42'($signed(word[i])) * 42'($signed({1'b0, root[J][8:0]}));
        high_1 <= 42'($signed(word[i])) * 42'($signed({1'b0, root[J][16:9]}));
        k_1    <= 8'($signed(root[J][23:17])) + 8'(31 - POINT_NORMED);
        gain_1 <= $signed(gain[i]);
      end
      if (valid_1) begin
        product_2 <= 50'(low_1) + (50'(high_1) <<< 9);
        k_2       <= k_1;
        gain_2    <= gain_1;
      end
      if (valid_2) begin
        half_3 <= k_2 > 0 ? product_2 >>> (k_2 - 8'sd1) : product_2 <<< (8'sd1 - k_2);
        gain_3 <= gain_2;
      end
      if (valid_3) begin
        normed_4 <= 32'((half_3 + 50'sd1) >>> 1);
        gain_4   <= gain_3;
      end
      if (valid_4) scaled_5 <= (32+GAIN_W)'(normed_4) * (32+GAIN_W)'(gain_4);
      if (valid_5)
        wdata[i] <= 32'((scaled_5 + (32+GAIN_W)'(1 << (NORMED_SHIFT - 1))) >>> NORMED_SHIFT);
    end
  end
  logic unused;
  assign unused = &{1'b0, s_first, s_last, r_valid};
endmodule
