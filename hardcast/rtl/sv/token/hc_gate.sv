//if gelu_tanh
// f = rs(rs(g * t, SHIFT1) * u, SHIFT2), g t = gelu(g): 65 entries of 13 bits over 0..4, linear between.
//else
// f = rs(rs(g * t, SHIFT1) * u, SHIFT2), t = sigmoid(g): 65 entries of 12 bits over 0..8, linear between.
//endif
// As golden's GATE_MUL, saturated to 38 bits (which the block quantiser cannot tell from more).
// One word a cycle, latency 10.
module hc_gate
  import hardcast_pkg::*, hc_tables_pkg::*;
(
  input  logic                clk,
  input  logic                rst_n,
  input  logic                in_valid,
  input  logic [TR-1:0][31:0] g,
  input  logic [TR-1:0][31:0] u,
  output logic [TR-1:0][37:0] f
);
//if gelu_tanh
  localparam int STEP = POINT_GATE - 4;  // bits below a table entry: 16 entries a unit
//else
  localparam int STEP = POINT_GATE - 3;  // bits below a table entry: 8 entries a unit
//endif
  localparam int SHIFT1 = 12 + POINT_GATE - POINT_SILU;
  localparam int SHIFT2 = POINT_SILU + POINT_GATE - POINT_F;
  localparam int TOP = SHIFT2 < 26 ? SHIFT2 + 37 : 62;  // bits from here up are the sign
  logic valid_1, valid_2, valid_3, valid_4, valid_5, valid_6, valid_7, valid_8, valid_9;
  always_ff @(posedge clk)
    {valid_9, valid_8, valid_7, valid_6, valid_5, valid_4, valid_3, valid_2, valid_1} <=
        rst_n ? {valid_8, valid_7, valid_6, valid_5, valid_4, valid_3, valid_2, valid_1, in_valid} : '0;

  for (genvar i = 0; i < TR; i++) begin : g_lane
    logic signed [31:0] g_1, g_2, g_3, g_4, silu_7;
    logic [31:0]        u_7;
    logic [STEP-1:0]    rest_1, rest_2;
    logic [6:0]         index_1;
    logic [12:0]        low_2, low_3, rise_2, t_4;
    logic [12+STEP:0]   risen_3;
    logic signed [39:0] low_5, high_5;               // times t (13 bits), in two halves
    logic signed [45:0] product_6;
    logic signed [40:0] byte0_8, byte1_8, byte2_8, byte3_8;  // times u, byte by byte
    logic signed [63:0] f_9;
    hc_delay #(.W(32), .N(7)) u_u (.clk, .rst_n, .d(u[i]), .q(u_7));
    always_ff @(posedge clk) begin
      if (in_valid) begin
//if gelu_tanh
        // |g| is 4 or more: seen beside the addition that makes a negative g positive
//else
        // |g| is 8 or more: seen beside the addition that makes a negative g positive
//endif
        automatic logic [31:0] ones = g[i] ^ {32{g[i][31]}};
        automatic logic [31:0] size = ones + 32'(g[i][31]);
//if gelu_tanh
        automatic logic big = ones[31:POINT_GATE+2] != '0
                              || (g[i][31] && ones[POINT_GATE+1:0] == '1);
//else
        automatic logic big = ones[31:POINT_GATE+3] != '0
                              || (g[i][31] && ones[POINT_GATE+2:0] == '1);
//endif
        index_1 <= big ? 7'd64 : size[STEP +: 7];
        rest_1  <= big ? '0 : size[STEP-1:0];
        g_1     <= $signed(g[i]);
      end
      if (valid_1) begin
        automatic logic [6:0] next = index_1 == 7'd64 ? 7'd64 : index_1 + 7'd1;
//if gelu_tanh
        low_2  <= GELU_TANH[index_1];
        rise_2 <= GELU_TANH[next] - GELU_TANH[index_1];
//else
        low_2  <= SIGMOID[index_1];
        rise_2 <= SIGMOID[next] - SIGMOID[index_1];
//endif
        rest_2 <= rest_1;
        g_2    <= g_1;
      end
      if (valid_2) begin
        risen_3 <= (13+STEP)'(rise_2) * (13+STEP)'(rest_2);
        low_3   <= low_2;
        g_3     <= g_2;
      end
      if (valid_3) begin
        automatic logic [12:0] t = low_3 + 13'((risen_3 + (13+STEP)'(1 << (STEP - 1))) >> STEP);
        t_4 <= g_3 < 0 ? 13'd4096 - t : t;
        g_4 <= g_3;
      end
      if (valid_4) begin
        low_5  <= g_4 * $signed({1'b0, t_4[6:0]});
        high_5 <= g_4 * $signed({1'b0, t_4[12:7]});
      end
      if (valid_5) product_6 <= 46'(low_5) + (46'(high_5) <<< 7);
      if (valid_6) silu_7 <= 32'((product_6 + (46'sd1 <<< (SHIFT1 - 1))) >>> SHIFT1);
      if (valid_7) begin
        byte0_8 <= silu_7 * $signed({1'b0, u_7[7:0]});
        byte1_8 <= silu_7 * $signed({1'b0, u_7[15:8]});
        byte2_8 <= silu_7 * $signed({1'b0, u_7[23:16]});
        byte3_8 <= silu_7 * $signed(u_7[31:24]);
      end
      if (valid_8)
        f_9 <= 64'(byte0_8) + (64'(byte1_8) <<< 8) + (64'(byte2_8) <<< 16) + (64'(byte3_8) <<< 24);
      if (valid_9) f[i] <= shifted(f_9);
    end
  end

  // rs(v, SHIFT2) within 38 bits. Too large is seen on v itself, beside the addition that rounds;
  // |v| is at most 2^62, so that a shift of 26 or more leaves nothing too large.
  function automatic logic [37:0] shifted(input logic signed [63:0] v);
    if (SHIFT2 < 26 && !v[63] && (v[62:TOP] != '0 || v[TOP-1:SHIFT2-1] == '1))
      return 38'h1fffffffff;
    if (SHIFT2 < 26 && v[63] && v[62:TOP] != '1) return 38'h2000000000;
    return 38'(v >>> SHIFT2) + 38'(v[SHIFT2-1]);
  endfunction
endmodule
