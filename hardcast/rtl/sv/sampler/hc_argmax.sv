// The largest of a stream of signed numbers, Lanes a cycle in the order of their ids; of equals,
// the smallest id. in_real marks the lanes that count; in every word lane 0 does, and the others from
// the left without gaps.
// A tree of comparators, a register a level, then the running maximum.
// Latency: Levels = log2(Lanes) from a word to word_*, its own maximum; Levels + 1 to best_*, the
// maximum since in_first. Throughput 1. best_* keep their value until the next in_first.
module hc_argmax #(
  parameter int Lanes = 4,
  parameter int Width = 32,
  parameter int BaseWidth = 32
) (
  input  logic                        clk,
  input  logic                        rst_n,
  input  logic                        in_valid,
  input  logic                        in_first,
  input  logic                        in_last,
  input  logic [BaseWidth-1:0]        in_base,  // which word: id = base * Lanes + lane
  input  logic [Lanes-1:0]            in_real,
  input  logic [Lanes-1:0][Width-1:0] in_value,
  output logic                        word_valid,
  output logic                        word_first,
  output logic [BaseWidth-1:0]        word_base,
  output logic [Width-1:0]            word_value,
  output logic                        best_done,  // best_* include the word of in_last: a pulse
  output logic [31:0]                 best_id
);
  localparam int Levels = $clog2(Lanes);
  localparam int LaneWidth = (Lanes > 1) ? Levels : 1;

  // Level l has Lanes >> l nodes; level 0 is the input.
  for (genvar l = 0; l <= Levels; l++) begin : gen_level
    localparam int Nodes = Lanes >> l;
    logic                            valid, first, last;
    logic [BaseWidth-1:0]            base;
    logic [Nodes-1:0]                real_lane;
    logic [Nodes-1:0][LaneWidth-1:0] lane;
    logic [Nodes-1:0][Width-1:0]     value;
    if (l == 0) begin : gen_input
      assign {valid, first, last, base} = {in_valid, in_first, in_last, in_base};
      assign real_lane = in_real;
      assign lane      = '0;
      assign value     = in_value;
    end else begin : gen_node
      always_ff @(posedge clk) begin
        valid <= gen_level[l-1].valid && rst_n;
        if (gen_level[l-1].valid) begin
          {first, last, base} <=
              {gen_level[l-1].first, gen_level[l-1].last, gen_level[l-1].base};
          for (int n = 0; n < Nodes; n++) begin
            // The right one only if strictly larger: of equals, the left has the smaller id.
            if (gen_level[l-1].real_lane[2*n+1]
                && $signed(gen_level[l-1].value[2*n+1]) > $signed(gen_level[l-1].value[2*n])) begin
              lane[n]  <= gen_level[l-1].lane[2*n+1] | LaneWidth'(1 << (l - 1));
              value[n] <= gen_level[l-1].value[2*n+1];
            end else begin
              lane[n]  <= gen_level[l-1].lane[2*n];
              value[n] <= gen_level[l-1].value[2*n];
            end
            real_lane[n] <= gen_level[l-1].real_lane[2*n];
          end
        end
      end
    end
  end

  assign word_valid = gen_level[Levels].valid;
  assign word_first = gen_level[Levels].first;
  assign word_base  = gen_level[Levels].base;
  assign word_value = gen_level[Levels].value[0];

  logic [Width-1:0] best_value;
  always_ff @(posedge clk) begin
    best_done <= word_valid && gen_level[Levels].last && rst_n;
    if (word_valid && (word_first || $signed(word_value) > $signed(best_value))) begin
      best_value <= word_value;
      best_id    <= (32'(word_base) << Levels) | 32'(gen_level[Levels].lane[0]);
    end
  end

  logic unused;
  assign unused = &{1'b0, gen_level[Levels].real_lane};

`ifndef SYNTHESIS
  for (genvar i = 0; i < Lanes; i++) begin : gen_assert
    if (i == 0) begin : gen_left
      assert property (@(posedge clk) disable iff (!rst_n) in_valid |-> in_real[0]);
    end else begin : gen_next
      assert property (
        @(posedge clk) disable iff (!rst_n) in_valid && in_real[i] |-> in_real[i-1]);
    end
  end
`endif
endmodule
