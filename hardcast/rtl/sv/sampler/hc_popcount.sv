// How many of Lanes bits are set, for Sets independent rows of bits: a tree of 8-input sums, a
// register a level.
// Latency Stages = max(1, ceil(log8(Lanes))), throughput 1.
module hc_popcount #(
  parameter int Sets = 15,
  parameter int Lanes = 4,
  parameter int Width = $clog2(Lanes + 1)
) (
  input  logic                       clk,
  input  logic                       rst_n,
  input  logic                       in_valid,
  input  logic                       in_first,
  input  logic                       in_last,
  input  logic [Sets-1:0][Lanes-1:0] in_bits,
  output logic                       out_valid,
  output logic                       out_first,
  output logic                       out_last,
  output logic [Sets-1:0][Width-1:0] out_count
);
  localparam int Stages = (Lanes > 64) ? 3 : (Lanes > 8) ? 2 : 1;

  for (genvar s = 0; s <= Stages; s++) begin : gen_stage
    localparam int Nodes = (Lanes + (1 << 3 * s) - 1) >> (3 * s);
    localparam int Bits  = (3 * s + 1 < Width) ? 3 * s + 1 : Width;
    logic                                 valid, first, last;
    logic [Sets-1:0][Nodes-1:0][Bits-1:0] count;
    if (s == 0) begin : gen_input
      assign {valid, first, last} = {in_valid, in_first, in_last};
      assign count = in_bits;
    end else begin : gen_sum
      localparam int Below = (Lanes + (1 << 3 * (s - 1)) - 1) >> (3 * (s - 1));
      always_ff @(posedge clk) begin
        valid <= gen_stage[s-1].valid && rst_n;
        if (gen_stage[s-1].valid) begin
          {first, last} <= {gen_stage[s-1].first, gen_stage[s-1].last};
          for (int k = 0; k < Sets; k++)
            for (int n = 0; n < Nodes; n++) begin
              automatic logic [Bits-1:0] sum = '0;
              for (int i = 8 * n; i < 8 * n + 8 && i < Below; i++)
                sum = sum + Bits'(gen_stage[s-1].count[k][i]);
              count[k][n] <= sum;
            end
        end
      end
    end
  end

  assign out_valid = gen_stage[Stages].valid;
  assign out_first = gen_stage[Stages].first;
  assign out_last  = gen_stage[Stages].last;
  always_comb for (int k = 0; k < Sets; k++) out_count[k] = Width'(gen_stage[Stages].count[k][0]);
endmodule
