// What becomes of the sums of one user's TR rows: accumulated over the units of a round, then
//     t = rs(acc, drop);  y = saturate32(rescale(t * M * r, k) + bias);  y += residual if asked
// with k = row_shift + shift_base + halfshift - drop, as golden's MATVEC. One row word (TR rows) a cycle.
// Latency: sums at cycle t; the row word's y at t + 10.
module hc_rows
  import hardcast_pkg::*;
(
  input  logic                     clk,
  input  logic                     rst_n,
  input  logic                     valid,       // sums are there
  input  logic [SLOT_AW-1:0]       slot,
  input  logic                     unit_first,  // of the round: starts the accumulators
  input  logic                     unit_final,  // of the round: the sums are whole
  input  logic                     normed,
  input  logic signed [7:0]        drop_base,
  input  logic signed [8:0]        shift_base,
  input  logic                     add,
  input  logic                     has_bias,
  input  logic [TR-1:0][ACC_W-1:0] sums,
  input  logic [4:0]               max_exp,     // of the input vector
  input  logic [16:0]              r,           // the last NORM's 1/rms
  input  logic signed [6:0]        halfshift,
  // row ROMs, a cycle after valid
  input  logic [TR-1:0][ROWROM_W-1:0] row_word,
  input  logic [TR-1:0][31:0]      bias_word,
  // the residual's word, 9 cycles after valid
  input  logic [TR-1:0][31:0]      residual,
  output logic                     out_valid,
  output logic [TR-1:0][31:0]      y
);
  // Parameters of the step ride along, a register a stage.
  logic       valid_1, valid_2, valid_3, valid_4, valid_5, valid_6, valid_7, valid_8, valid_9;
  logic       normed_1, normed_2, normed_3, normed_4, add_9, bias_8;
  logic [5:0] drop_1;
  logic signed [9:0] base_1;

  wire signed [8:0] drop_full = 9'($signed({1'b0, max_exp})) + 9'(drop_base);
  wire [5:0]        drop_0 = drop_full < 0 ? 6'd0 : 6'(drop_full);
  always_ff @(posedge clk) begin
    valid_1 <= valid && unit_final && rst_n;
    {valid_9, valid_8, valid_7, valid_6, valid_5, valid_4, valid_3, valid_2} <=
        rst_n ? {valid_8, valid_7, valid_6, valid_5, valid_4, valid_3, valid_2, valid_1} : '0;
    {normed_4, normed_3, normed_2, normed_1} <= {normed_3, normed_2, normed_1, normed};
    drop_1 <= drop_0;
    base_1 <= 10'(shift_base) + (normed ? 10'(halfshift) : '0) - 10'($signed({1'b0, drop_0}));
    out_valid <= valid_9 && rst_n;
  end
  hc_delay #(.W(1), .N(9)) u_add (.clk, .rst_n, .d(add), .q(add_9));
  hc_delay #(.W(1), .N(8)) u_bias (.clk, .rst_n, .d(has_bias), .q(bias_8));

  logic [TR-1:0][31:0] bias_d;
  if (BIAS != 0) begin : g_bias
    hc_delay #(.W(TR * 32), .N(7)) u_word (.clk, .rst_n, .d(bias_word), .q(bias_d));
  end else begin : g_no_bias
    assign bias_d = '0;
    logic unused;
    assign unused = &{1'b0, bias_word};
  end

  for (genvar i = 0; i < TR; i++) begin : g_lane
    logic signed [ACC_W-1:0] acc[R];
    logic signed [ACC_W-1:0] sum_1;
    logic signed [37:0]      t_2;
    logic [7:0]              m_2;
    logic signed [42:0]      low_3, high_3;          // times M (8 bits), in two halves
    logic signed [45:0]      u_4;
    logic signed [52:0]      low_5, mid_5, high_5;   // times r (17 bits), in three parts
    logic signed [63:0]      v_6;
    logic signed [63:0]      w_7;
    logic signed [34:0]      z_8;
    logic signed [31:0]      y_9;
    logic signed [7:0]       k_2, k_3, k_4, k_5, k_6;
    always_ff @(posedge clk) begin
      if (valid) begin
        automatic logic signed [ACC_W-1:0] s = (unit_first ? '0 : acc[slot]) + $signed(sums[i]);
        acc[slot] <= s;
        sum_1 <= s;
      end
      if (valid_1) begin
        automatic logic signed [10:0] k = 11'(base_1) + 11'($signed(row_word[i][14:8]));
        t_2 <= 38'(rounded(64'(sum_1), drop_1));
        m_2 <= row_word[i][7:0];
        k_2 <= k < -11'sd31 ? -8'sd31 : k > 11'sd62 ? 8'sd62 : 8'(k);
      end
`ifndef SYNTHESIS
      // the bounds that the image's builder proved (docs/steps/matvec.md)
      if (rst_n && valid_6 && k_6 <= 0)
        assert ((v_6 <<< (8'sd1 - k_6)) >>> (8'sd1 - k_6) == v_6) else $error("a row leaves 64 bits");
      if (rst_n && valid_1)
        assert (rounded(64'(sum_1), drop_1) == 64'(38'(rounded(64'(sum_1), drop_1)))) else $error("t leaves 38 bits");
`endif
      if (valid_2) begin
        low_3  <= t_2 * $signed({1'b0, m_2[3:0]});
        high_3 <= t_2 * $signed({1'b0, m_2[7:4]});
        k_3    <= k_2;
      end
      if (valid_3) begin
        u_4 <= 46'(low_3) + (46'(high_3) <<< 4);
        k_4 <= k_3;
      end
      if (valid_4) begin
        low_5 <= u_4 * $signed({1'b0, normed_4 ? r[5:0] : 6'd1});
        mid_5 <= u_4 * $signed({1'b0, normed_4 ? r[11:6] : 6'd0});
        high_5 <= u_4 * $signed({1'b0, normed_4 ? r[16:12] : 5'd0});
        k_5 <= k_4;
      end
      if (valid_5) begin
        v_6 <= 64'(low_5) + (64'(mid_5) <<< 6) + (64'(high_5) <<< 12);
        k_6 <= k_5;
      end
      if (valid_6) w_7 <= k_6 > 0 ? v_6 >>> (k_6 - 8'sd1) : v_6 <<< (8'sd1 - k_6);
      if (valid_7) z_8 <= halved(w_7);
      if (valid_8) y_9 <= saturate(z_8 + (BIAS != 0 && bias_8 ? 35'($signed(bias_d[i])) : '0));
      if (valid_9) y[i] <= saturate(35'(y_9) + (add_9 ? 35'($signed(residual[i])) : '0));
    end
  end

  // rs(v, k); |v| < 2^62, so that adding 1 cannot overflow
  function automatic logic signed [63:0] rounded(input logic signed [63:0] v, input logic [5:0] k);
    return k == 0 ? v : ((v >>> (k - 6'd1)) + 64'sd1) >>> 1;
  endfunction

  // (w + 1) >>> 1 within -2^33 .. 2^33 - 1. Too large is seen on w itself, beside the addition.
  function automatic logic signed [34:0] halved(input logic signed [63:0] w);
    if (!w[63] && (w[62:34] != '0 || w[33:0] == '1)) return 35'sd8589934591;
    if (w[63] && w[62:34] != '1) return -35'sd8589934592;
    return 35'($signed(w[34:0]) >>> 1) + 35'(w[0]);
  endfunction

  function automatic logic [31:0] saturate(input logic signed [34:0] v);
    return v[34:31] == '0 || v[34:31] == '1 ? v[31:0] : {v[34], {31{!v[34]}}};
  endfunction
endmodule
