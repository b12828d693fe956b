// The lane as it is synthesised (select) adds what the lane as it is simulated (multiply) adds.
// hc_tile_select is hc_tile with HC_SELECT defined; both get the same inputs.
// PART 0: every selected multiple is the product. PART 1: given that, the rows' sums are the same.
module f_lane
  import hardcast_pkg::*;
#(
  parameter int PART = 0
) (
  input logic                       clk,
  input logic                       rst_n,
  input logic                       valid,
  input logic                       first,
  input logic                       half,
  input logic                       last,
  input logic [CB_AW-1:0]           codebook,
  input logic [ROM_W-1:0]           word,
  input logic [U-1:0][K*8-1:0]      x,
  input logic [U-1:0][5:0]          shift,
  input logic [U-1:0][G*XSUM_W-1:0] xsum
);
  logic [U-1:0][ACC_W-1:0] y_multiply, y_select;
  hc_tile        multiply (.*, .y(y_multiply));
  hc_tile_select select   (.*, .y(y_select));

  logic valid_1, valid_2;
  logic [1:0] age = 2'd0;
  always_ff @(posedge clk) begin
    {valid_2, valid_1} <= {valid_1, valid && rst_n};
    if (age != 2'd2) age <= age + 2'd1;
  end

  for (genvar u = 0; u < U; u++) begin : g_user
    for (genvar r = 0; r < R; r++) begin : g_row
      for (genvar k = 0; k < K; k++) begin : g_lane
        wire [B-1:0] code = multiply.codes_a[(r*K+k)*B +: B];
        wire signed [SUM_W-1:0] product =
          SUM_W'(CODEBOOK[{multiply.cb_a, code}]) * SUM_W'($signed(multiply.x_a[u][k*8 +: 8]));
        wire signed [SUM_W-1:0] selected = SUM_W'($signed(select.g_user[u].multiples[k][code]));
        if (PART == 0) begin : g_lemma
          always_comb if (age != 0 && valid_1) assert (selected == product);
        end else begin : g_given
          always_comb if (age != 0 && valid_1) assume (selected == product);
        end
      end
      if (PART == 1) begin : g_sum
        always_comb
          if (age == 2'd2 && valid_2)
            assert (multiply.g_user[u].partial[r] == select.g_user[u].partial[r]);
      end
    end
  end
endmodule
