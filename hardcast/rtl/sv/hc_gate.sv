// f = rs(rs(g * t, SHIFT1) * u, SHIFT2), t = sigmoid(g): 65 entries of 12 bits over 0..8, linear between.
// As golden's GATE_MUL, saturated to 38 bits (which the block quantiser cannot tell from more).
// One word a cycle, latency 7.
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
  localparam int STEP = POINT_GATE - 3;  // bits below a table entry: 8 entries a unit
  localparam int SHIFT1 = 12 + POINT_GATE - POINT_SILU;
  localparam int SHIFT2 = POINT_SILU + POINT_GATE - POINT_F;
  logic valid_1, valid_2, valid_3, valid_4, valid_5, valid_6;
  always_ff @(posedge clk)
    {valid_6, valid_5, valid_4, valid_3, valid_2, valid_1} <=
        rst_n ? {valid_5, valid_4, valid_3, valid_2, valid_1, in_valid} : '0;

  for (genvar i = 0; i < TR; i++) begin : g_lane
    logic signed [31:0] g_1, g_2, g_3, u_1, u_2, u_3, u_4, silu_5, u_5;
    logic [STEP-1:0]    rest_1;
    logic [6:0]         index_1;
    logic [12:0]        low_2, t_3;
    logic signed [24:0] rise_2;
    logic signed [45:0] product_4;
    logic signed [63:0] f_6;
    always_ff @(posedge clk) begin
      if (in_valid) begin
        automatic logic [31:0] size = g[i][31] ? -g[i] : g[i];
        automatic logic big = size > (32'd8 << POINT_GATE);
        index_1 <= big ? 7'd64 : size[STEP +: 7];
        rest_1  <= big ? '0 : size[STEP-1:0];
        g_1     <= $signed(g[i]);
        u_1     <= $signed(u[i]);
      end
      if (valid_1) begin
        automatic logic [6:0] next = index_1 == 7'd64 ? 7'd64 : index_1 + 7'd1;
        low_2  <= SIGMOID[index_1];
        rise_2 <= $signed({12'd0, SIGMOID[next] - SIGMOID[index_1]}) * $signed({1'b0, rest_1});
        g_2    <= g_1;
        u_2    <= u_1;
      end
      if (valid_2) begin
        automatic logic [12:0] t = low_2 + 13'((rise_2 + (25'sd1 <<< (STEP - 1))) >>> STEP);
        t_3 <= g_2 < 0 ? 13'd4096 - t : t;
        g_3 <= g_2;
        u_3 <= u_2;
      end
      if (valid_3) begin
        product_4 <= g_3 * $signed({1'b0, t_3});
        u_4 <= u_3;
      end
      if (valid_4) begin
        silu_5 <= 32'((product_4 + (46'sd1 <<< (SHIFT1 - 1))) >>> SHIFT1);
        u_5 <= u_4;
      end
      if (valid_5) f_6 <= 64'(silu_5) * 64'(u_5);
      if (valid_6) begin
        automatic logic signed [63:0] r = (f_6 + (64'sd1 <<< (SHIFT2 - 1))) >>> SHIFT2;
        f[i] <= r > 64'sd137438953471 ? 38'h1fffffffff
              : r < -64'sd137438953472 ? 38'h2000000000 : 38'(r);
      end
    end
  end
endmodule
