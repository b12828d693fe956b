// The draw among the K largest logits, as golden's `_draw_among_largest` from the sorted list on:
// probabilities from the exp2 table, their running sums, the shortest prefix whose sum reaches
// top_p, and the token at which the running sum passes (word * Z) >> 32.
// Both ends are found by the same search: the first i with sums[i] >= limit, halving 8 times.
//     prefix: limit = ceil(sums[K-1] * top_p / 2^16)      token: limit = ((word * Z) >> 32) + 1
// The limit is never above the last sum that is asked for, so the search always ends inside.
//
// Time: K + 54 cycles from start to done, for every outcome. Entries of the list are read from
// index 0 up, one a cycle, from the cycle after start, and one more at the end.
module hc_draw #(
  parameter int LogitPoint = 10,
  parameter int Depth = 256,
  parameter int IdWidth = 10
) (
  input  logic                     clk,
  input  logic                     rst_n,
  input  logic                     start,
  input  logic [8:0]               count,  // K, 1..Depth
  input  logic [19:0]              inverse_temperature,
  input  logic [16:0]              top_p,  // 1..65536
  input  logic [31:0]              word,   // random
  output logic                     read,
  output logic [$clog2(Depth)-1:0] read_index,
  input  logic [31:0]              read_logit,  // two cycles after read
  input  logic [IdWidth-1:0]       read_id,
  output logic                     done,
  output logic [IdWidth-1:0]       token
);
  import hc_tables_pkg::*;
  localparam int ScoreWidth = 52 - (LogitPoint - 4);
  localparam int IndexWidth = $clog2(Depth);
  localparam int SumWidth = 12 + IndexWidth;
  localparam int Far = 13;  // a shift of 13 or more leaves nothing of a table entry

  // ----------------------------------------------------- the list's entries, one a cycle, to sums
  logic                  run_q;
  logic [IndexWidth-1:0] index_q;
  wire                   run_last = 9'(index_q) == count - 9'd1;
  // 1, 2: the list's registers; 3..5: the score's; 6: beside the largest; 7: its distance d;
  // 8: table entry; 9: probability; 10: sum
  logic [10:1]           valid_q, last_q;
  logic [9:1]            first_q;
  always_ff @(posedge clk) begin
    if (!rst_n) begin
      run_q   <= 1'b0;
      valid_q <= '0;
    end else begin
      if (start) begin
        run_q   <= 1'b1;
        index_q <= '0;
      end else if (run_q) begin
        run_q   <= !run_last;
        index_q <= index_q + IndexWidth'(1);
      end
      if (run_q || |valid_q) begin
        valid_q <= {valid_q[9:1], run_q};
        first_q <= {first_q[8:1], index_q == '0};
        last_q  <= {last_q[9:1], run_last};
      end
    end
  end

  logic signed [ScoreWidth-1:0] score_5, score_6, largest_6;
  logic [ScoreWidth-1:0]        d_7;  // scores fall along the list: d >= 0, unsigned
  logic [11:0]                  entry_8, p_9;
  logic [3:0]                   shift_8;
  logic [SumWidth-1:0]          sum_10;
  wire  [SumWidth-1:0]          sum_9 = SumWidth'(p_9) + (first_q[9] ? '0 : sum_10);
  hc_score #(.LogitPoint(LogitPoint), .Width(ScoreWidth)) u_score (
    .clk, .rst_n, .inverse_temperature, .in_valid(valid_q[2]), .logit(read_logit), .score(score_5)
  );
  always_ff @(posedge clk) begin
    if (valid_q[5]) begin
      score_6 <= score_5;
      if (first_q[5]) largest_6 <= score_5;
    end
    if (valid_q[6]) d_7 <= largest_6 - score_6;
    if (valid_q[7]) begin
      entry_8 <= EXP2[d_7[15:8]];
      shift_8 <= (d_7[ScoreWidth-1:20] != '0 || d_7[19:16] >= 4'(Far)) ? 4'(Far) : d_7[19:16];
    end
    if (valid_q[8]) p_9 <= 12'((13'(entry_8) + ((13'd1 << shift_8) >> 1)) >> shift_8);
    if (valid_q[9]) sum_10 <= sum_9;
  end

  // ------------------------------------------------------------ the two searches, one machine
  typedef enum logic [3:0] {
    Idle, Multiply, Add, Limit, Probe, Compare, Fetch, Fetched, Token
  } state_e;
  state_e                state_q;
  logic                  second_q;  // the search for the token
  logic [SumWidth-1:0]   factor_q;  // the whole sum, then Z
  logic [SumWidth+15:0]  low_q, high_q;
  logic [SumWidth+31:0]  product_q;
  logic [SumWidth:0]     limit_q;
  logic [IndexWidth-1:0] position_q, bit_q;
  logic [SumWidth-1:0]   sum;
  wire  [31:0]           multiplier = second_q ? word : 32'(top_p);
  // The last index of the half that is left out if its sum is below the limit.
  wire  [IndexWidth-1:0] probe = position_q | (bit_q - IndexWidth'(1));
  wire                   below = (SumWidth+1)'(sum) < limit_q && 9'(probe) < count;

  logic [IndexWidth-1:0] written_q;
  wire  [IndexWidth-1:0] write_index = first_q[9] ? '0 : written_q;
  always_ff @(posedge clk) if (valid_q[9]) written_q <= write_index + IndexWidth'(1);
  hc_ram #(.W(SumWidth), .D(Depth)) u_sums (
    .clk,
    .we   (valid_q[9]),
    .waddr(write_index),
    .wdata(sum_9),
    .re   (state_q == Probe || state_q == Fetch),
    .raddr(state_q == Probe ? probe : position_q),
    .rdata(sum)
  );

  always_ff @(posedge clk) begin
    done <= 1'b0;
    if (!rst_n) state_q <= Idle;
    else
      unique case (state_q)
        Idle: if (valid_q[10] && last_q[10]) begin
          state_q  <= Multiply;
          second_q <= 1'b0;
          factor_q <= sum_10;
        end
        Multiply: begin
          low_q   <= (SumWidth+16)'(factor_q) * (SumWidth+16)'(multiplier[15:0]);
          high_q  <= (SumWidth+16)'(factor_q) * (SumWidth+16)'(multiplier[31:16]);
          state_q <= Add;
        end
        Add: begin
          product_q <= {high_q + (SumWidth+16)'(low_q[SumWidth+15:16]), low_q[15:0]};
          state_q   <= Limit;
        end
        Limit: begin
          limit_q    <= second_q ? (SumWidth+1)'(product_q[SumWidth+31:32]) + (SumWidth+1)'(1)
                      : product_q[SumWidth+16:16] + (SumWidth+1)'(product_q[15:0] != '0);
          position_q <= '0;
          bit_q      <= {1'b1, {(IndexWidth-1){1'b0}}};
          state_q    <= Probe;
        end
        Probe: state_q <= Compare;
        Compare: begin
          if (below) position_q <= position_q | bit_q;
          bit_q   <= bit_q >> 1;
          state_q <= bit_q[0] ? Fetch : Probe;
        end
        Fetch: state_q <= Fetched;
        Fetched: begin
          factor_q <= sum;
          second_q <= 1'b1;
          state_q  <= second_q ? Token : Multiply;
        end
        Token: begin
          token   <= read_id;
          done    <= 1'b1;
          state_q <= Idle;
        end
        default: state_q <= Idle;
      endcase
  end
  assign read       = run_q || (state_q == Fetch && second_q);
  assign read_index = run_q ? index_q : position_q;

  // A step of the table is 2^8 of a distance.
  logic unused;
  assign unused = &{1'b0, d_7[7:0]};

`ifndef SYNTHESIS
  assert property (@(posedge clk) disable iff (!rst_n) start |-> state_q == Idle && valid_q == '0);
  assert property (@(posedge clk) disable iff (!rst_n) start |-> count >= 1 && 32'(count) <= Depth);
  assert property (@(posedge clk) disable iff (!rst_n) start |-> top_p >= 1 && top_p <= 17'd65536);
  assert property (@(posedge clk) disable iff (!rst_n) valid_q[6] |-> largest_6 >= score_6);
  assert property (@(posedge clk) disable iff (!rst_n)
                   state_q == Fetched |-> 9'(position_q) < count && (SumWidth+1)'(sum) >= limit_q);
`endif
endmodule
