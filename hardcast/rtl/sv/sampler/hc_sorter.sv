// A systolic insertion sorter of Depth entries in descending order of unsigned keys; an entry that
// comes later ranks below its equals. Each cell keeps the larger of its entry and the arriving one
// and hands the other on, so a wire reaches only from cell to cell and nothing is broadcast. An
// entry that was pushed out outranks all cells below it: it always pushes on, so that equals stay
// in order.
//
// in_first empties the sorter before its entry is taken: that mark travels from cell to cell too.
// Cell i holds its final entry i + 1 cycles after the last in_valid, so a reader that starts at
// cell 0 in the cycle after it and takes a cell a cycle stays just behind the last insertion.
// Throughput 1 insertion a cycle; read latency 2, throughput 1. Reading leaves the entries alone.
module hc_sorter #(
  parameter int Depth = 256,  // power of two from 32 up
  parameter int IdWidth = 18
) (
  input  logic                     clk,
  input  logic                     rst_n,
  input  logic                     in_valid,
  input  logic                     in_first,  // counts with in_valid only
  input  logic [31:0]              in_key,
  input  logic [IdWidth-1:0]       in_id,
  input  logic                     read,
  input  logic [$clog2(Depth)-1:0] read_index,
  output logic [31:0]              read_key,
  output logic [IdWidth-1:0]       read_id
);
  localparam int Group = 16;  // cells behind one multiplexer of the first read stage
  localparam int Groups = Depth / Group;
  localparam int IndexWidth = $clog2(Depth);

  logic [31:0]        key_q [Depth], link_key_q [Depth];
  logic [IdWidth-1:0] id_q  [Depth], link_id_q  [Depth];
  logic [Depth-1:0]   full_q;  // the cell holds an entry
  // On the way to the next cell.
  logic [Depth-1:0]   link_valid_q, link_first_q, link_pushed_q;

  // What arrives at each cell.
  wire [Depth-1:0] valid = {link_valid_q[Depth-2:0], in_valid};
  wire [Depth-1:0] first = {link_first_q[Depth-2:0], in_first && in_valid};

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      link_valid_q <= '0;
      link_first_q <= '0;
    end else if (|valid || |first || link_valid_q[Depth-1] || link_first_q[Depth-1]) begin
      link_first_q <= first;
      link_valid_q <= valid & ~first & full_q;
      full_q       <= valid | (full_q & ~first);
    end
  end

  // Whole arrays are assigned at the end, from copies: Verilator 5.48 wrongly lets a cell see what
  // the same edge writes to its neighbour when a loop assigns single bits or entries.
  always_ff @(posedge clk)
    if (|valid) begin
      automatic logic [31:0]        key [Depth] = key_q;
      automatic logic [31:0]        link_key [Depth] = link_key_q;
      automatic logic [IdWidth-1:0] id [Depth] = id_q;
      automatic logic [IdWidth-1:0] link_id [Depth] = link_id_q;
      automatic logic [Depth-1:0]   pushed = '0;
      for (int i = 0; i < Depth; i++)
        if (valid[i]) begin
          automatic logic [IndexWidth-1:0] above = (i == 0) ? '0 : IndexWidth'(i - 1);
          link_key[i] = (i == 0) ? in_key : link_key_q[above];
          link_id[i]  = (i == 0) ? in_id : link_id_q[above];
          if (first[i] || !full_q[i] || (i != 0 && link_pushed_q[above])
              || link_key[i] > key_q[i]) begin
            pushed[i]   = 1'b1;
            key[i]      = link_key[i];
            id[i]       = link_id[i];
            link_key[i] = key_q[i];
            link_id[i]  = id_q[i];
          end
        end
      key_q         <= key;
      link_key_q    <= link_key;
      id_q          <= id;
      link_id_q     <= link_id;
      link_pushed_q <= pushed;
    end

  logic                      read_q;
  logic [$clog2(Groups)-1:0] group_q;
  // Packed: as unpacked arrays read by an index they would be taken for memories.
  logic [Groups-1:0][31:0]        group_key_q;
  logic [Groups-1:0][IdWidth-1:0] group_id_q;
  always_ff @(posedge clk) begin
    read_q <= read && rst_n;
    if (read) begin
      group_q <= read_index[IndexWidth-1:4];
      for (int g = 0; g < Groups; g++) begin
        group_key_q[g] <= key_q[Group*g + 32'(read_index[3:0])];
        group_id_q[g]  <= id_q[Group*g + 32'(read_index[3:0])];
      end
    end
    if (read_q) begin
      read_key <= group_key_q[group_q];
      read_id  <= group_id_q[group_q];
    end
  end
endmodule
