//if behind
// The norm behind a matrix, second pass: x = sat(x + sat(rs(rescale(y * r, 31 + halfshift - F_normed) * gain,
// BEHIND_SHIFT))), a word a cycle. r and halfshift stand still while its words pass.
// Latency 7.
module hc_norm_behind
  import hardcast_pkg::*;
(
  input  logic                        clk,
  input  logic                        rst_n,
  // words of the step, a cycle after they were asked for
  input  logic                        in_valid,
  input  vec_t                        vec,
  input  logic [16:0]                 r,
  input  logic signed [6:0]           halfshift,
  input  logic [TR-1:0][31:0]         word,
  input  logic [TR-1:0][GAIN_W-1:0]   gain,
  input  logic [TR-1:0][31:0]         residual,
  output logic                        we,
  output logic                        done,
  output logic [WORD_AW-1:0]          waddr,
  output logic [TR-1:0][31:0]         wdata
);
  logic valid_1, valid_2, valid_3, valid_4, valid_5, valid_6, done_6, zero_6;
  logic [WORD_AW-1:0] addr_6;
  logic [TR-1:0][31:0] residual_6;
  logic signed [7:0] k_1, k_2;
  always_ff @(posedge clk) begin
    {valid_6, valid_5, valid_4, valid_3, valid_2, valid_1} <=
        rst_n ? {valid_5, valid_4, valid_3, valid_2, valid_1, in_valid} : '0;
    k_1   <= 8'(halfshift) + 8'(31 - POINT_NORMED);
    k_2   <= k_1;
    we    <= valid_6 && !zero_6 && rst_n;
    done  <= valid_6 && done_6 && rst_n;
    waddr <= addr_6;
  end
  hc_delay #(.W(WORD_AW + 2), .N(6)) u_addr (
    .clk, .rst_n, .d({vec.base + vec.word, vec.zero, vec.done}), .q({addr_6, zero_6, done_6})
  );
  hc_delay #(.W(TR * 32), .N(6)) u_residual (.clk, .rst_n, .d(residual), .q(residual_6));
  for (genvar i = 0; i < TR; i++) begin : g_lane
    logic signed [41:0] low_1, high_1;
    logic signed [49:0] product_2, half_3;
    logic signed [31:0] normed_4, scaled_6;
    logic signed [31+GAIN_W:0] scaled_5;
    logic signed [GAIN_W-1:0] gain_1, gain_2, gain_3, gain_4;
    always_ff @(posedge clk) begin
      if (in_valid) begin
        low_1  <= 42'($signed(word[i])) * 42'($signed({1'b0, r[8:0]}));
        high_1 <= 42'($signed(word[i])) * 42'($signed({1'b0, r[16:9]}));
        gain_1 <= $signed(gain[i]);
      end
      if (valid_1) begin
        product_2 <= 50'(low_1) + (50'(high_1) <<< 9);
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
        scaled_6 <= saturate((scaled_5 + (32+GAIN_W)'(1 << (BEHIND_SHIFT - 1))) >>> BEHIND_SHIFT);
      if (valid_6)
        wdata[i] <= saturate((32+GAIN_W)'(scaled_6) + (32+GAIN_W)'($signed(residual_6[i])));
    end
  end

  function automatic logic [31:0] saturate(input logic signed [31+GAIN_W:0] v);
    return v[31+GAIN_W:31] == '0 || v[31+GAIN_W:31] == '1 ? v[31:0] : {v[31+GAIN_W], {31{!v[31+GAIN_W]}}};
  endfunction
endmodule
//endif
