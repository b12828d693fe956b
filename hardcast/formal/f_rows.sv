// hc_rows, stage by stage, from any state: shifts round as golden's rs and rescale do, k and drop are
// golden's, and what saturates saturates. The products between are plain and not looked at here.
// Assumed: no reset; drop stays below 64; v is below 2^62 and, shifted left, below 2^61 (golden/bounds.py
// refuses weights with which they are not).
module f_rows
  import hardcast_pkg::*;
#(
  parameter int PART = 0  // 0: drop and k; 1: rs(acc, drop); 2: rescale(v, k); 3: bias and residual
) (
  input logic                     clk,
  input logic                     valid,
  input logic [SLOT_AW-1:0]       slot,
  input logic                     unit_first,
  input logic                     unit_final,
  input logic                     normed,
  input logic signed [7:0]        drop_base,
  input logic signed [8:0]        shift_base,
  input logic                     add,
  input logic                     has_bias,
  input logic [TR-1:0][ACC_W-1:0] sums,
  input logic [4:0]               max_exp,
  input logic [16:0]              r,
  input logic signed [6:0]        halfshift,
  input logic [TR-1:0][ROWROM_W-1:0] row_word,
  input logic [TR-1:0][31:0]      bias_word,
  input logic [TR-1:0][31:0]      residual
);
  localparam int WIDE = 130;
  typedef logic signed [WIDE-1:0] wide_t;
  logic out_valid;
  logic [TR-1:0][31:0] y;
  hc_rows rows (.*, .rst_n(1'b1));

  // The stages, by their registers' names in hc_rows. z comes two cycles after v, y one after z's sum.
  wire               valid_t = rows.valid_1;
  wire signed [63:0] acc = 64'(rows.g_lane[0].sum_1);
  wire signed [37:0] t = rows.g_lane[0].t_2;
  wire signed [7:0]  k_t = rows.g_lane[0].k_2;
  wire               valid_v = rows.valid_6;
  wire signed [63:0] v_v = rows.g_lane[0].v_6;
  wire signed [7:0]  k_v = rows.g_lane[0].k_6;
  wire               valid_z = rows.valid_8;
  wire signed [34:0] z = rows.g_lane[0].z_8;
  wire signed [31:0] bias = BIAS != 0 && rows.bias_8 ? $signed(rows.bias_d[0]) : '0;
  wire               valid_y = rows.valid_9;
  wire signed [31:0] sum = rows.g_lane[0].y_9;
  wire signed [31:0] more = rows.add_9 ? $signed(residual[0]) : '0;

  logic [3:0] age = '0;
  always_ff @(posedge clk) if (age != 4'd12) age <= age + 4'd1;

  function automatic wide_t rs(input wide_t x, input int k);
    return (x + ((wide_t'(1) <<< k) >>> 1)) >>> k;
  endfunction
  function automatic wide_t clamp(input wide_t x, input int bits);
    automatic wide_t most = (wide_t'(1) <<< bits) - 1;
    return x > most ? most : x < ~most ? ~most : x;
  endfunction

  if (PART == 0) begin : g_scalars
    int drop, k, drop_1, base_1;
    assign drop = int'(max_exp) + int'(drop_base);
    assign k = base_1 + int'($signed(row_word[0][14:8]));
    int k_1;
    logic valid_1;
    always_ff @(posedge clk) begin
      drop_1 <= drop < 0 ? 0 : drop;
      base_1 <= int'(shift_base) + (normed ? int'(halfshift) : 0) - (drop < 0 ? 0 : drop);
      k_1 <= k < -31 ? -31 : k > 62 ? 62 : k;
      valid_1 <= valid_t;
    end
    always_comb begin
      assume (drop < 64);
      if (age >= 1) assert (int'(rows.drop_1) == drop_1);
      if (age >= 2 && valid_1) assert (int'(k_t) == k_1);
      if (age >= 7 && valid_v) assert (k_v >= -8'sd31 && k_v <= 8'sd62);
    end
  end
  if (PART == 1) begin : g_drop
    logic signed [37:0] wanted;
    logic valid_1;
    always_ff @(posedge clk) begin
      wanted <= 38'(rs(wide_t'(acc), int'(rows.drop_1)));
      valid_1 <= valid_t;
    end
    always_comb if (age >= 1 && valid_1) assert (t == wanted);
  end
  if (PART == 2) begin : g_rescale
    wide_t v, wanted_1, wanted_2;
    int k;
    logic valid_1, valid_2;
    assign v = wide_t'(v_v);
    assign k = int'(k_v);
    always_ff @(posedge clk) begin
      wanted_1 <= clamp(k >= 0 ? rs(v, k) : v <<< -k, 33);
      wanted_2 <= wanted_1;
      valid_1 <= valid_v;
      valid_2 <= valid_1;
    end
    always_comb begin
      assume (k >= -31 && k <= 62);
      assume (clamp(v, 62) == v);
      if (k < 0) assume (clamp(v <<< -k, 61) == (v <<< -k));
      if (age >= 2 && valid_2) assert (wide_t'(z) == wanted_2);
    end
  end
  if (PART == 3) begin : g_saturate
    wide_t wanted_sum, wanted_y;
    logic valid_sum, valid_out;
    always_ff @(posedge clk) begin
      wanted_sum <= clamp(wide_t'(z) + wide_t'(bias), 31);
      wanted_y <= clamp(wide_t'(sum) + wide_t'(more), 31);
      valid_sum <= valid_z;
      valid_out <= valid_y;
    end
    always_comb begin
      assume (clamp(wide_t'(z), 33) == wide_t'(z));  // by the clamp before: 35 bits hold z + bias
      if (age >= 1 && valid_sum) assert (wide_t'(sum) == wanted_sum);
      if (age >= 1 && valid_out) assert (wide_t'($signed(y[0])) == wanted_y);
    end
  end
endmodule
