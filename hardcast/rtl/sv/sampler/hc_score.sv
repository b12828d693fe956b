// A logit in log2 units at 16 fraction bits: rescale(logit * inverse_temperature, LogitPoint - 4).
// inverse_temperature is below 2^20 (2^12 log2(e) / 0.01) and stands still.
// Latency 3, throughput 1.
module hc_score #(
  parameter int LogitPoint = 10,
  parameter int Width = 52 - (LogitPoint - 4)
) (
  input  logic                    clk,
  input  logic                    rst_n,
  input  logic [19:0]             inverse_temperature,
  input  logic                    in_valid,
  input  logic [31:0]             logit,
  output logic signed [Width-1:0] score
);
  localparam int Shift = LogitPoint - 4;

  logic               valid_1, valid_2;
  logic signed [35:0] high_1;
  logic [35:0]        low_1;
  logic signed [51:0] product_2;
  wire signed [20:0]  factor = $signed({1'b0, inverse_temperature});

  always_ff @(posedge clk) begin
    {valid_2, valid_1} <= rst_n ? {valid_1, in_valid} : '0;
    if (in_valid) begin
      high_1 <= 36'($signed(logit[31:16])) * 36'(factor);
      low_1  <= 36'(logit[15:0]) * 36'(inverse_temperature);
    end
    if (valid_1) begin
      product_2[15:0]  <= low_1[15:0];
      product_2[51:16] <= high_1 + 36'(low_1[35:16]);
    end
  end

  if (Shift > 0) begin : gen_round
    always_ff @(posedge clk)
      if (valid_2)
        score <= $signed(product_2[51:Shift]) + $signed({{(Width-1){1'b0}}, product_2[Shift-1]});
    if (Shift > 1) begin : gen_unused
      logic unused;
      assign unused = &{1'b0, product_2[Shift-2:0]};
    end
  end else begin : gen_shift
    always_ff @(posedge clk) if (valid_2) score <= Width'(product_2) <<< -Shift;
  end
endmodule
