// 1/sqrt(v) = r * 2^-(31 + halfshift), as golden's rsqrt: a table of 24 intervals, linear between.
// v of V_W bits, v >= 1. Latency 5.
module hc_rsqrt
  import hardcast_pkg::*, hc_tables_pkg::*;
(
  input  logic              clk,
  input  logic              rst_n,
  input  logic              in_valid,
  input  logic [V_W-1:0]    v,
  output logic              out_valid,
  output logic [16:0]       r,
  output logic signed [6:0] halfshift
);
  logic valid_1, valid_2, valid_3, valid_4;
  logic [V_W-1:0] v_1;
  logic signed [6:0] half_1, half_2, half_3, half_4;
  logic [31:0] w_2;
  logic [16:0] low_3, high_3, low_4;
  logic [11:0] frac_3;
  logic [28:0] fall_4;
  always_ff @(posedge clk) begin
    {valid_4, valid_3, valid_2, valid_1} <= rst_n ? {valid_3, valid_2, valid_1, in_valid} : '0;
    out_valid <= valid_4 && rst_n;
    if (in_valid) begin
      automatic logic [6:0] length = '0;
      for (int i = 0; i < V_W; i++) if (v[i]) length = 7'(i + 1);
      v_1    <= v;
      half_1 <= 7'($signed({1'b0, 7'((length + 7'd1) >> 1)}) - 8'sd16);
    end
    if (valid_1) begin
      // the shift is even: 2 * half
      w_2    <= half_1 < 0 ? 32'(v_1 << (-{half_1, 1'b0})) : 32'(v_1 >> {half_1, 1'b0});
      half_2 <= half_1;
    end
    if (valid_2) begin
      low_3  <= RSQRT[5'(w_2[31:27] - 5'd8)];
      high_3 <= RSQRT[5'(w_2[31:27] - 5'd7)];
      frac_3 <= w_2[26:15];
      half_3 <= half_2;
    end
    if (valid_3) begin
      fall_4 <= 29'(17'(low_3 - high_3)) * 29'(frac_3);
      low_4  <= low_3;
      half_4 <= half_3;
    end
    if (valid_4) begin
      r <= low_4 - 17'((fall_4 + 29'd2048) >> 12);
      halfshift <= half_4;
    end
  end
endmodule
